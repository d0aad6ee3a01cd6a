#include "common/resolver/name_resolver.h"

#include <ares.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/net/timer_wheel.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"

namespace trunkline {
namespace {

constexpr int kTriesPerServer = 2;
// Failing names that get a metric of their own; more would make the page too long.
constexpr size_t kMaxFailingNames = 100;

std::string ListText(const AddressList& addresses) {
  return absl::StrJoin(*addresses, ", ", [](std::string* out, const SocketAddress& address) {
    absl::StrAppend(out, address.ToString());
  });
}

void SetPort(SocketAddress& address, uint16_t port) {
  if (address.family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = htons(port);
  }
}

}  // namespace

// One c-ares channel on the resolver's loop. Used by its thread only.
class NameResolver::Queries {
 public:
  Queries(NameResolver& owner, EventLoop& loop) : owner_(owner), loop_(loop) {
    ares_options options{};
    options.timeout = static_cast<int>(absl::ToInt64Milliseconds(owner.options_.query_timeout));
    options.tries = kTriesPerServer;
    options.sock_state_cb = &Queries::OnSocketState;
    options.sock_state_cb_data = this;
    const int rc = ares_init_options(&channel_, &options,
                                     ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (rc != ARES_SUCCESS) {
      channel_ = nullptr;
      failure_ = absl::StrCat("cannot use the DNS settings of this machine: ", ares_strerror(rc));
      return;
    }
    if (!owner.options_.server.empty()) {
      TRUNKLINE_CHECK(
          ares_set_servers_ports_csv(channel_, owner.options_.server.c_str()) == ARES_SUCCESS,
          "Options::server is ip:port");
    }
  }
  ~Queries() {
    if (channel_ != nullptr) ares_destroy(channel_);
  }

  // Calls the owner's OnAnswer, possibly before it returns.
  void Start(const std::string& key, const Address& address) {
    if (channel_ == nullptr) {
      owner_.OnAnswer(key, {.failure = failure_});
      return;
    }
    ++in_flight_;
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    auto query = std::make_unique<Query>(Query{*this, key, address.port});
    ares_getaddrinfo(channel_, address.host.c_str(), nullptr, &hints, &Queries::OnResult,
                     query.release());
    ArmTimer();
  }
  size_t in_flight() const { return in_flight_; }

 private:
  struct Query {
    Queries& queries;
    std::string key;
    uint16_t port;
  };
  class Watch final : public EventHandler {
   public:
    Watch(Queries& queries, int fd) : queries_(queries), fd_(fd) {}
    void OnEvents(uint32_t events) override {
      const bool readable = (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
      const bool writable = (events & EPOLLOUT) != 0;
      queries_.Process(readable ? fd_ : ARES_SOCKET_BAD, writable ? fd_ : ARES_SOCKET_BAD);
    }

   private:
    Queries& queries_;
    const int fd_;
  };

  static void OnResult(void* data, int status, int, ares_addrinfo* found) {
    const std::unique_ptr<Query> query(static_cast<Query*>(data));
    const std::unique_ptr<ares_addrinfo, decltype(&ares_freeaddrinfo)> owner(found,
                                                                             &ares_freeaddrinfo);
    --query->queries.in_flight_;
    if (status == ARES_EDESTRUCTION) return;
    Answer answer;
    if (status != ARES_SUCCESS) answer.failure = ares_strerror(status);
    for (auto* node = found != nullptr ? found->nodes : nullptr; node != nullptr;
         node = node->ai_next) {
      SocketAddress address;
      std::memcpy(&address.storage, node->ai_addr, node->ai_addrlen);
      address.size = node->ai_addrlen;
      SetPort(address, query->port);
      answer.addresses.push_back(address);
    }
    if (answer.addresses.empty() && answer.failure.empty()) answer.failure = "no address";
    query->queries.owner_.OnAnswer(query->key, std::move(answer));
  }

  static void OnSocketState(void* data, ares_socket_t fd, int readable, int writable) {
    static_cast<Queries*>(data)->SetWatch(fd, readable != 0, writable != 0);
  }
  void SetWatch(int fd, bool readable, bool writable) {
    if (!readable && !writable) {
      const auto found = watches_.find(fd);
      if (found == watches_.end()) return;
      loop_.Remove(fd);
      loop_.Retire(std::move(found->second));
      watches_.erase(found);
      return;
    }
    std::unique_ptr<Watch>& watch = watches_[fd];
    if (watch == nullptr) watch = std::make_unique<Watch>(*this, fd);
    const uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
    const absl::Status watched = loop_.AddOrModify(fd, events, watch.get());
    // The query then fails by its timeout.
    if (!watched.ok()) LogDebug("a DNS socket cannot be watched: {}", watched.ToString());
  }

  void OnTimer() { Process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); }
  void Process(ares_socket_t readable, ares_socket_t writable) {
    ares_process_fd(channel_, readable, writable);
    ArmTimer();
  }
  void ArmTimer() {
    timeval wait{};
    if (ares_timeout(channel_, nullptr, &wait) == nullptr) {
      timer_.Cancel();
    } else {
      loop_.Arm(timer_, absl::DurationFromTimeval(wait));
    }
  }

  NameResolver& owner_;
  EventLoop& loop_;
  ares_channel channel_ = nullptr;
  std::string failure_;
  size_t in_flight_ = 0;
  std::unordered_map<int, std::unique_ptr<Watch>> watches_;
  MemberTimer<Queries, &Queries::OnTimer> timer_{this};
};

NameResolver::NameResolver(Options options) : options_(std::move(options)) {
  // Never undone: other users of the library in this process count on it, too.
  static const int initialized = ares_library_init(ARES_LIB_INIT_ALL);
  TRUNKLINE_CHECK(initialized == ARES_SUCCESS, "c-ares starts");
  thread_ = std::thread([this] {
    queries_ = std::make_unique<Queries>(*this, loop_);
    loop_.Arm(round_timer_, options_.refresh);
    loop_.Run();
    round_timer_.Cancel();
    queries_.reset();
  });
}

NameResolver::~NameResolver() {
  loop_.Stop();
  thread_.join();
}

NameResolver::Name& NameResolver::Find(const Address& address) {
  const auto [found, is_new] = names_.try_emplace(address.ToString());
  Name& name = found->second;
  if (is_new) {
    name.address = address;
    loop_.Post([this] { StartDue(); });
  }
  name.asked_at = MonotonicNow();
  return name;
}

AddressList NameResolver::Lookup(const Address& address) {
  if (!IsHostName(address)) return KnownAddresses(address);
  const std::lock_guard lock(mutex_);
  return Find(address).addresses;
}

void NameResolver::Pin(const Address& address) {
  if (!IsHostName(address)) return;
  const std::lock_guard lock(mutex_);
  Find(address).pinned = true;
}

void NameResolver::AwaitAnswers(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  answered_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] {
    for (const auto& [key, name] : names_) {
      if (!name.answered) return false;
    }
    return true;
  });
}

// The channel is made anew only between queries: ending it would end them.
void NameResolver::RunRound() {
  loop_.Arm(round_timer_, options_.refresh);
  if (queries_->in_flight() == 0) queries_ = std::make_unique<Queries>(*this, loop_);
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(names_, [&](const auto& entry) {
      const Name& name = entry.second;
      return !name.pinned && !name.in_flight && loop_.now() - name.asked_at > options_.forget_after;
    });
    for (auto& [key, name] : names_) name.due = true;
  }
  StartDue();
}

void NameResolver::StartDue() {
  std::vector<std::pair<std::string, Address>> due;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [key, name] : names_) {
      if (name.in_flight || !std::exchange(name.due, false)) continue;
      name.in_flight = true;
      ++lookups_;
      due.emplace_back(key, name.address);
    }
  }
  for (const auto& [key, address] : due) queries_->Start(key, address);
}

void NameResolver::OnAnswer(const std::string& key, Answer answer) {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(key);
    if (found == names_.end()) return;
    Name& name = found->second;
    name.in_flight = false;
    name.answered = true;
    const std::string former_failure = std::exchange(name.failure, answer.failure);
    if (answer.failure.empty()) {
      auto addresses =
          std::make_shared<const std::vector<SocketAddress>>(std::move(answer.addresses));
      changed = !SameAddresses(name.addresses, addresses);
      if (changed) name.addresses = std::move(addresses);
    } else {
      ++failures_;
    }
    LogAnswer(name, former_failure);
  }
  answered_.notify_all();
  if (changed && options_.on_change != nullptr) options_.on_change();
}

// Logs the first of several equal failures, and the success after a failure.
void NameResolver::LogAnswer(const Name& name, const std::string& former_failure) const {
  const std::string text = name.address.ToString();
  if (name.failure.empty()) {
    if (!former_failure.empty()) LogInfo("{} resolves again: {}", text, ListText(name.addresses));
    return;
  }
  if (name.failure == former_failure) return;
  if (name.addresses == nullptr) {
    LogWarn("{} does not resolve: {}; no connection to it is possible until it does", text,
            name.failure);
  } else {
    LogWarn("{} does not resolve any more: {}; still using {}", text, name.failure,
            ListText(name.addresses));
  }
}

void NameResolver::Collect(MetricsWriter& writer) const {
  const std::lock_guard lock(mutex_);
  const auto metric = [&](const char* name) { return absl::StrCat(options_.program, name); };
  writer.AddCounter(metric("_name_lookups_total"), "Lookups of host names", {},
                    static_cast<double>(lookups_));
  writer.AddCounter(metric("_name_lookup_failures_total"),
                    "Lookups of host names that failed; the last good addresses stay in use", {},
                    static_cast<double>(failures_));
  size_t failing = 0;
  for (const auto& [key, name] : names_) {
    if (name.failure.empty() || failing++ >= kMaxFailingNames) continue;
    writer.AddGauge(metric("_name_unresolved"),
                    "1 for each host name whose last lookup failed, for at most 100 names",
                    {{"name", key}}, 1);
  }
}

}  // namespace trunkline
