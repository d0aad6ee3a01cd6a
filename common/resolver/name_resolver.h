// Resolves host names in the background and keeps the last good addresses of each.
//
// A lookup that fails, or is not answered, changes nothing: the former addresses stay in use until
// better ones are known. All names are looked up at the same time, IPv6 and IPv4, so a silent DNS
// server delays no thread but the resolver's own, and no name delays another. /etc/hosts and
// /etc/resolv.conf are used as the C library does, and read again with each round.
//
// Owns a thread. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/event_loop.h"
#include "common/observe/metrics_page.h"

namespace trunkline {

class NameResolver {
 public:
  struct Options {
    // The program's part of metric names: "proxy" or "agent".
    std::string program;
    // Called on the resolver's thread after the addresses of a name changed. May call Lookup.
    std::function<void()> on_change;
    // Interval between lookups of one name.
    absl::Duration refresh = absl::Seconds(5);
    // Time until an unanswered query is sent again, once, and then until it fails.
    absl::Duration query_timeout = absl::Seconds(2);
    // A name that was not asked for during this time is forgotten, unless it is pinned.
    absl::Duration forget_after = absl::Minutes(1);
    // "ip:port" of the DNS server; empty for the system's servers.
    std::string server;
  };

  explicit NameResolver(Options options);
  // Waits for no answer.
  ~NameResolver();

  // Returns the last good addresses of a host without blocking, and has its name looked up from now
  // on. IP addresses and unix sockets need no lookup. Null while no lookup has succeeded.
  AddressList Lookup(const Address& address);
  // Keeps looking up the name of `address` for the life of the resolver.
  void Pin(const Address& address);
  // Waits until each known name has been answered or has failed, or for `timeout`.
  void AwaitAnswers(absl::Duration timeout);

  void Collect(MetricsWriter& writer) const;

 private:
  class Queries;
  struct Name {
    Address address;
    AddressList addresses;
    std::string failure;  // of the last lookup; empty if it succeeded
    MonotonicTime asked_at;
    bool pinned = false;
    bool answered = false;  // by an address or a failure
    bool due = true;
    bool in_flight = false;
  };
  // Results of a lookup.
  struct Answer {
    std::vector<SocketAddress> addresses;
    std::string failure;  // empty if it succeeded
  };

  Name& Find(const Address& address);
  void RunRound();
  void StartDue();
  void OnAnswer(const std::string& key, Answer answer);
  void LogAnswer(const Name& name, const std::string& former_failure) const;

  const Options options_;
  // std types because ThreadSanitizer does not see inside the system's absl::Mutex.
  mutable std::mutex mutex_;
  std::condition_variable answered_;
  std::map<std::string, Name> names_;  // by Address::ToString; guarded by mutex_
  uint64_t lookups_ = 0;               // guarded by mutex_
  uint64_t failures_ = 0;              // guarded by mutex_

  EventLoop loop_;
  std::unique_ptr<Queries> queries_;  // used by the thread only
  MemberTimer<NameResolver, &NameResolver::RunRound> round_timer_{this};
  std::thread thread_;
};

}  // namespace trunkline
