// Who has been silent longest: a doubly linked list through an array, in the order of the last sign
// of life.
//
// Every time-out is equally long, so the order of touching is the order of expiry: touching is O(1)
// and finding the expired looks at no one else. Keys are small integers (file descriptors). Pure;
// confined to one thread.
#pragma once

#include <vector>

#include "common/base/clock.h"

namespace trunkline::metering {

class IdleList {
 public:
  // Keys are in [0, keys).
  explicit IdleList(int keys) : nodes_(keys + 1), end_(keys) { nodes_[end_] = {end_, end_, {}}; }

  // Puts `key` in, or moves it behind everyone else.
  void Touch(int key, MonotonicTime now);
  // No effect when it is not in.
  void Remove(int key);
  // The key touched longest ago, -1 when none was touched before `before`.
  int OldestBefore(MonotonicTime before) const;

 private:
  struct Node {
    int previous = -1;  // -1: not in the list
    int next = -1;
    MonotonicTime touched;
  };
  std::vector<Node> nodes_;
  const int end_;  // the list is a ring through this node
};

}  // namespace trunkline::metering
