// The pending queue: flows without an endpoint yet, in order of arrival.
//
// An intrusive list: adding and removing at any position is O(1) and does not allocate. Bounded,
// because each entry is a waiting client.
//
// Externally synchronized. Entries are borrowed; an entry leaves its queue when it is destroyed.
#pragma once

#include <cstddef>

namespace trunkline {

// T derives from PendingQueue<T>::Entry.
template <typename T>
class PendingQueue {
 public:
  class Entry {
   public:
    Entry() = default;
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry() {
      if (queue_ != nullptr) queue_->Remove(*this);
    }
    bool pending() const { return queue_ != nullptr; }

   private:
    friend class PendingQueue;
    PendingQueue* queue_ = nullptr;
    Entry* previous_ = nullptr;
    Entry* next_ = nullptr;
  };

  explicit PendingQueue(size_t capacity) : capacity_(capacity) {}
  PendingQueue(const PendingQueue&) = delete;
  PendingQueue& operator=(const PendingQueue&) = delete;
  ~PendingQueue() {
    while (first_ != nullptr) Remove(*first_);
  }

  // Adds `item`, which is in no queue, at the end. Returns false if the queue is full.
  [[nodiscard]] bool Push(T& item) {
    if (size_ >= capacity_) return false;
    Entry& entry = item;
    entry.queue_ = this;
    entry.previous_ = last_;
    (last_ != nullptr ? last_->next_ : first_) = &entry;
    last_ = &entry;
    ++size_;
    return true;
  }
  // Does nothing if `item` is not in this queue.
  void Remove(T& item) {
    Entry& entry = item;
    if (entry.queue_ == this) Remove(entry);
  }
  // Null if the queue is empty.
  T* front() const { return static_cast<T*>(first_); }
  bool empty() const { return first_ == nullptr; }
  size_t size() const { return size_; }

 private:
  void Remove(Entry& entry) {
    (entry.previous_ != nullptr ? entry.previous_->next_ : first_) = entry.next_;
    (entry.next_ != nullptr ? entry.next_->previous_ : last_) = entry.previous_;
    entry.queue_ = nullptr;
    entry.previous_ = entry.next_ = nullptr;
    --size_;
  }

  const size_t capacity_;
  size_t size_ = 0;
  Entry* first_ = nullptr;
  Entry* last_ = nullptr;
};

}  // namespace trunkline
