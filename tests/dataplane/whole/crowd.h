// Plays many ends of connections in one thread.
#pragma once

#include <sys/epoll.h>

#include <cstdlib>
#include <iterator>
#include <memory>
#include <unordered_map>
#include <utility>

#include "common/base/unique_fd.h"

namespace trunkline::test {

inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// An End has Step(), which does as much as possible without blocking and returns false when it is
// done, and the events that it waits for. A Tally sums up their outcomes and counts those that are
// `stuck`.
//
// Confined to its thread.
template <typename End, typename Tally>
class Crowd {
 public:
  explicit Crowd(Tally& tally) : tally_(tally), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  ~Crowd() { tally_.stuck += ends_.size(); }

  size_t size() const { return ends_.size(); }
  End* Add(std::unique_ptr<End> end) {
    End* const borrowed = end.get();
    const int fd = end->fd();
    epoll_event event{.events = Interest(*borrowed), .data = {.fd = fd}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
    ends_[fd] = std::move(end);
    return borrowed;
  }
  void AddListener(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  // Call after the events that `end` waits for have changed.
  void Ask(const End& end) {
    epoll_event event{.events = Interest(end), .data = {.fd = end.fd()}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, end.fd(), &event);
  }

  // Steps the ready ends. Calls `gone` for each end that is done and `other` for each descriptor of
  // a listener. Returns false after `millis` without an event.
  template <typename Gone, typename Other>
  bool Step(int millis, Gone gone, Other other) {
    epoll_event events[64];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), millis);
    for (int i = 0; i < count; ++i) {
      const auto found = ends_.find(events[i].data.fd);
      if (found == ends_.end()) {
        other(events[i].data.fd);
      } else if (!StepOne(*found->second)) {
        gone(*found->second);
        ends_.erase(found);
      }
    }
    return count > 0;
  }
  // Steps every end, ready or not.
  void StepAll() {
    std::erase_if(ends_, [this](auto& each) { return !StepOne(*each.second); });
  }

 private:
  static uint32_t Interest(const End& end) {
    return (end.wants_to_read() ? EPOLLIN : 0u) | (end.wants_to_write() ? EPOLLOUT : 0u);
  }
  // Returns false if the end is done.
  bool StepOne(End& end) {
    const uint32_t before = Interest(end);
    if (!end.Step()) {
      tally_.Add(end);
      return false;
    }
    if (Interest(end) != before) Ask(end);
    return true;
  }

  Tally& tally_;
  const UniqueFd epoll_;
  std::unordered_map<int, std::unique_ptr<End>> ends_;
};

}  // namespace trunkline::test
