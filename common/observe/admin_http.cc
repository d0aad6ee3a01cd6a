#include "common/observe/admin_http.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/net/timer_wheel.h"
#include "common/observe/admin_connection.h"
#include "common/observe/metrics_page.h"

namespace trunkline {
namespace {

// Far more than scrapers, health probes and operators need; each costs a descriptor.
constexpr size_t kMaxConnections = 128;
// Pause of the listener while the process has no descriptor for another connection.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kPaths[] = "not found; the paths are /metrics, /healthz and /readyz\n";

// An event loop on a thread of its own, joined by Stop.
class LoopThread {
 public:
  ~LoopThread() { Stop(); }
  void Start() {
    thread_ = std::thread([this] { loop_.Run(); });
  }
  void Stop() {
    if (!thread_.joinable()) return;
    loop_.Stop();
    thread_.join();
  }
  EventLoop& loop() { return loop_; }

 private:
  EventLoop loop_;
  std::thread thread_;
};

// A page that may take long, so that it is made on a thread of its own. All fields except the
// thread belong to the server's loop.
struct SlowPage {
  std::function<AdminAnswer()> make;
  // Connections that get the next page: what they see must not be older than their request.
  std::vector<uint64_t> waiting;
  bool busy = false;
  LoopThread thread;
};

}  // namespace

class AdminHttp::Server : public EventHandler, public AdminConnection::Owner {
 public:
  Server(UniqueFd listener, const MetricsPage& metrics, Readiness readiness, Notes notes)
      : listener_(std::move(listener)), port_(BoundPort(listener_.get())) {
    metrics_.make = [&metrics] {
      return AdminAnswer{.content_type = kPrometheusText, .body = metrics.Render()};
    };
    readiness_.make = [is_ready = std::move(readiness), list_notes = std::move(notes)] {
      const std::string reason = is_ready();
      AdminAnswer answer{.status = reason.empty() ? 200 : 503,
                         .content_type = kPlainText,
                         .body = reason.empty() ? "ok\n" : absl::StrCat(reason, "\n")};
      for (const std::string& note : list_notes ? list_notes() : std::vector<std::string>()) {
        absl::StrAppend(&answer.body, note, "\n");
      }
      return answer;
    };
  }
  ~Server() override {
    // The pages' threads post to the loop of connections.
    metrics_.thread.Stop();
    readiness_.thread.Stop();
    connections_thread_.Stop();
  }

  absl::Status Start() {
    if (absl::Status added = loop().Add(listener_.get(), EPOLLIN, this); !added.ok()) return added;
    for (LoopThread* thread : {&metrics_.thread, &readiness_.thread, &connections_thread_}) {
      thread->Start();
    }
    return absl::OkStatus();
  }

  int port() const { return port_; }

 private:
  EventLoop& loop() { return connections_thread_.loop(); }

  void OnEvents(uint32_t) override {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (IsShortage(errno)) Pause();
      return;
    }
    if (connections_.size() >= kMaxConnections) CloseCheapest();
    auto connection = std::make_unique<AdminConnection>(loop(), *this, ++last_id_, std::move(fd));
    if (connection->Start().ok()) connections_.emplace(last_id_, std::move(connection));
  }

  void Pause() {
    loop().Remove(listener_.get());
    loop().Arm(resume_, kAcceptPause);
  }

  void Resume() {
    if (!loop().AddOrModify(listener_.get(), EPOLLIN, this).ok()) loop().Arm(resume_, kAcceptPause);
  }

  // Among equals, the oldest goes.
  void CloseCheapest() {
    const auto cheapest = std::min_element(
        connections_.begin(), connections_.end(), [](const auto& a, const auto& b) {
          return a.second->cost_of_closing() < b.second->cost_of_closing();
        });
    cheapest->second->Close();
  }

  void OnClosed(AdminConnection& connection) override {
    const auto entry = connections_.find(connection.id());
    TRUNKLINE_CHECK(entry != connections_.end(), "a server loses its own connections, each once");
    loop().Retire(std::move(entry->second));
    connections_.erase(entry);
    for (SlowPage* page : {&metrics_, &readiness_}) std::erase(page->waiting, connection.id());
  }

  void OnRequest(AdminConnection& connection, std::string_view path) override {
    if (path == "/healthz") {
      connection.Answer({.content_type = kPlainText, .body = "ok\n"});
    } else if (path == "/readyz") {
      Enqueue(readiness_, connection);
    } else if (path == "/metrics") {
      Enqueue(metrics_, connection);
    } else {
      connection.Answer({.status = 404, .content_type = kPlainText, .body = kPaths});
    }
  }

  void Enqueue(SlowPage& page, const AdminConnection& connection) {
    page.waiting.push_back(connection.id());
    if (!page.busy) Make(page);
  }

  void Make(SlowPage& page) {
    page.busy = true;
    page.thread.loop().Post([this, &page, ids = std::exchange(page.waiting, {})]() mutable {
      loop().Post([this, &page, ids = std::move(ids), answer = page.make()] {
        page.busy = false;
        for (const uint64_t id : ids) {
          const auto entry = connections_.find(id);
          if (entry != connections_.end()) entry->second->Answer(answer);
        }
        if (!page.waiting.empty()) Make(page);
      });
    });
  }

  // Destroyed last, because timers belong to its loop.
  LoopThread connections_thread_;
  const UniqueFd listener_;
  const int port_;
  // By id, so the oldest one is the first.
  std::map<uint64_t, std::unique_ptr<AdminConnection>> connections_;
  uint64_t last_id_ = 0;
  MemberTimer<Server, &Server::Resume> resume_{this};
  SlowPage metrics_;
  SlowPage readiness_;
};

absl::StatusOr<UniqueFd> AdminHttp::Listen(const std::string& listen) {
  const absl::StatusOr<Address> address = ParseAddress(listen);
  if (!address.ok()) return address.status();
  if (address->is_unix()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the admin HTTP server listens on host:port; got \"", listen, "\""));
  }
  absl::StatusOr<UniqueFd> listener = ListenOn(*address);
  if (listener.ok()) return listener;
  return absl::UnavailableError(absl::StrCat("admin HTTP: ", listener.status().message()));
}

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const std::string& listen,
                                                            const MetricsPage& metrics,
                                                            Readiness readiness, Notes notes) {
  absl::StatusOr<UniqueFd> listener = Listen(listen);
  if (!listener.ok()) return listener.status();
  return Start(*std::move(listener), metrics, std::move(readiness), std::move(notes));
}

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(UniqueFd listener,
                                                            const MetricsPage& metrics,
                                                            Readiness readiness, Notes notes) {
  auto server = std::make_unique<Server>(std::move(listener), metrics, std::move(readiness),
                                         std::move(notes));
  if (absl::Status started = server->Start(); !started.ok()) return started;
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(server)));
}

AdminHttp::AdminHttp(std::unique_ptr<Server> server) : server_(std::move(server)) {}

AdminHttp::~AdminHttp() = default;

int AdminHttp::port() const { return server_->port(); }

}  // namespace trunkline
