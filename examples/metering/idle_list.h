// Keys in the order of their last activity: a doubly linked list through an array.
//
// All timeouts are equally long, so the order of activity is the order of expiry. Touching a key is
// O(1), and a search for expired keys looks at expired keys only. Keys are small integers (file
// descriptors). Pure; confined to one thread.
#pragma once

#include <vector>

#include "common/base/clock.h"

namespace trunkline::metering {

class IdleList {
 public:
  // Keys are in [0, keys).
  explicit IdleList(int keys) : nodes_(keys + 1), end_(keys) { nodes_[end_] = {end_, end_, {}}; }

  // Inserts `key`, or moves it to the end.
  void Touch(int key, MonotonicTime now);
  // Has no effect if `key` is not in the list.
  void Remove(int key);
  // Returns the key touched longest ago, or -1 if no key was touched before `before`.
  int OldestBefore(MonotonicTime before) const;
  // When that key was touched; Infinite() if the list is empty.
  MonotonicTime OldestTouch() const;

 private:
  struct Node {
    int previous = -1;  // -1: not in the list
    int next = -1;
    MonotonicTime touched;
  };
  std::vector<Node> nodes_;
  const int end_;  // sentinel: the list is a ring through this node
};

}  // namespace trunkline::metering
