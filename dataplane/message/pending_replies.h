// The requests in flight on one shared connection.
//
// Each request gets a number when it is sent. Where replies come in the order of requests, the next
// reply belongs to the oldest request. Where replies carry an id, the low bits of the number are
// that id, so a reply finds its request in one step. All other ids are used before one is reused,
// so a reply that comes after its request timed out matches no request.
//
// Holds at most `capacity` requests and allocates nothing after construction. Pure; externally
// synchronized. `Request` must be movable and default-constructible.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace trunkline {

template <typename Request>
class PendingReplies {
 public:
  // `id_bits` is the width of the protocol's id, or 64 if it has none.
  PendingReplies(size_t capacity, unsigned id_bits)
      : capacity_(capacity),
        slots_(std::bit_ceil(capacity)),
        id_mask_(id_bits >= 64 ? UINT64_MAX : (uint64_t{1} << id_bits) - 1) {}

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool full() const { return size_ >= capacity_; }

  // Requires !full(). Returns the request's id.
  uint64_t Add(Request request) {
    while (SlotOf(next_).used) ++next_;
    Slot& slot = SlotOf(next_);
    slot.number = next_;
    slot.used = true;
    slot.request = std::move(request);
    ++size_;
    return next_++ & id_mask_;
  }

  // The oldest request. Requires !empty(). Valid until the request is removed.
  Request& front() {
    while (!IsUsed(first_)) ++first_;
    return SlotOf(first_).request;
  }
  // Returns null if no request waits for a reply with this id.
  Request* Find(uint64_t id) {
    const size_t index = id & (slots_.size() - 1);
    Slot& slot = slots_[index];
    return slot.used && (slot.number & id_mask_) == (id & id_mask_) ? &slot.request : nullptr;
  }

  Request TakeFront() {
    front();
    return Take(SlotOf(first_++));
  }
  // Requires that Find(id) is not null.
  Request TakeId(uint64_t id) { return Take(slots_[id & (slots_.size() - 1)]); }

  // Visits all requests in no particular order. It iterates over slots, not numbers: behind an old
  // request there may be millions of unused numbers, but there are at most twice `capacity` slots.
  template <typename Visitor>
  void ForEach(Visitor visit) {
    size_t left = size_;
    for (auto slot = slots_.begin(); left > 0; ++slot) {
      if (!slot->used) continue;
      --left;
      visit(slot->request);
    }
  }

 private:
  struct Slot {
    uint64_t number = 0;
    bool used = false;
    Request request;
  };

  Slot& SlotOf(uint64_t number) { return slots_[number & (slots_.size() - 1)]; }
  bool IsUsed(uint64_t number) {
    const Slot& slot = SlotOf(number);
    return slot.used && slot.number == number;
  }
  Request Take(Slot& slot) {
    slot.used = false;
    --size_;
    return std::exchange(slot.request, Request());
  }

  const size_t capacity_;
  std::vector<Slot> slots_;
  const uint64_t id_mask_;
  uint64_t first_ = 0;
  uint64_t next_ = 0;
  size_t size_ = 0;
};

}  // namespace trunkline
