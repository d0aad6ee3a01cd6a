#include "examples/metering/idle_list.h"

#include "common/base/clock.h"

namespace trunkline::metering {

void IdleList::Touch(int key, MonotonicTime now) {
  Remove(key);
  const int last = nodes_[end_].previous;
  nodes_[key] = {last, end_, now};
  nodes_[last].next = key;
  nodes_[end_].previous = key;
}

void IdleList::Remove(int key) {
  Node& node = nodes_[key];
  if (node.previous < 0) return;
  nodes_[node.previous].next = node.next;
  nodes_[node.next].previous = node.previous;
  node.previous = node.next = -1;
}

int IdleList::OldestBefore(MonotonicTime before) const {
  const int first = nodes_[end_].next;
  return first != end_ && nodes_[first].touched < before ? first : -1;
}

MonotonicTime IdleList::OldestTouch() const {
  const int first = nodes_[end_].next;
  return first == end_ ? MonotonicTime::Infinite() : nodes_[first].touched;
}

}  // namespace trunkline::metering
