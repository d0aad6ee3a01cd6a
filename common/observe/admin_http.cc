#include "common/observe/admin_http.h"

#include <errno.h>
#include <httplib.h>
#include <string.h>
#include <sys/socket.h>

#include <chrono>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/net/address.h"

namespace trunkline {
namespace {

// Serve scrapers, health probes and an operator's curl; each request is short.
constexpr int kThreads = 4;
// Connections accepted but without a thread. When the queue is full, the accept loop blocks and
// further connections stay in the kernel's backlog.
constexpr size_t kMaxQueued = 64;
// Limits how long a peer that neither sends nor reads occupies a thread.
constexpr std::chrono::seconds kPeerTimeout{2};
// One request per connection, so that an idle scraper occupies no thread and the server stops at
// once.
constexpr size_t kRequestsPerConnection = 1;
// httplib's own 5 overflows when a few scrapers connect at once.
constexpr int kBacklog = 128;
// No request needs a body.
constexpr size_t kMaxBodyBytes = 1024;

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kPaths[] = "not found; the paths are /metrics, /healthz and /readyz\n";

// The result of TaskQueue::enqueue: void in cpp-httplib 0.11 (Debian 12), bool in 0.18 (Debian 13),
// where false would drop the connection.
using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue(nullptr));

// Replaces httplib's pool, whose queue is unbounded. Thread-safe.
class BoundedPool : public httplib::TaskQueue {
 public:
  BoundedPool() {
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Work(); });
  }

  // Blocks while the queue is full.
  Enqueued enqueue(std::function<void()> task) override {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](std::deque<std::function<void()>>* queue) { return queue->size() < kMaxQueued; },
        &queue_));
    queue_.push_back(std::move(task));
    return Enqueued(true);
  }

  void shutdown() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void Work() {
    while (std::function<void()> task = Take()) task();
  }

  // Returns an empty task when the pool stops. Tasks own sockets, so queued tasks run before that.
  std::function<void()> Take() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](BoundedPool* pool) ABSL_EXCLUSIVE_LOCKS_REQUIRED(pool->mutex_) {
          return !pool->queue_.empty() || pool->stopping_;
        },
        this));
    if (queue_.empty()) return nullptr;
    std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    return task;
  }

  absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

void Configure(httplib::Server& server) {
  server.set_keep_alive_max_count(kRequestsPerConnection);
  server.set_keep_alive_timeout(kPeerTimeout.count());
  server.set_read_timeout(kPeerTimeout);
  server.set_write_timeout(kPeerTimeout);
  server.set_payload_max_length(kMaxBodyBytes);
}

}  // namespace

struct AdminHttp::State {
  State(const MetricsPage& metrics_page, Readiness is_ready)
      : metrics(metrics_page), readiness(std::move(is_ready)) {}

  void Route();
  absl::Status Bind(const std::string& where);
  void Serve();

  const MetricsPage& metrics;
  const Readiness readiness;
  int listening_fd = -1;  // owned by httplib
  int port = 0;
  httplib::Server server;
  // The accept loop runs, or has ended already.
  absl::Notification loop_entered;
  std::thread thread;
};

void AdminHttp::State::Route() {
  server.Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", kPlainText);
  });
  server.Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
    const std::string reason = readiness();
    response.status = reason.empty() ? 200 : 503;
    response.set_content(reason.empty() ? "ok\n" : reason + "\n", kPlainText);
  });
  server.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(metrics.Render(), kPrometheusText);
  });
  server.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (response.status == 404) response.set_content(kPaths, kPlainText);
  });
}

absl::Status AdminHttp::State::Bind(const std::string& where) {
  const absl::StatusOr<Address> address = ParseAddress(where);
  if (!address.ok()) return address.status();
  if (address->is_unix()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the admin HTTP server listens on host:port; got \"", where, "\""));
  }
  // Replaces httplib's SO_REUSEPORT, with which a second process on the same port would silently
  // receive half of the requests.
  server.set_socket_options([this](int fd) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    listening_fd = fd;
  });
  errno = 0;
  if (address->port == 0) {
    port = server.bind_to_any_port(address->host);
  } else {
    port = server.bind_to_port(address->host, address->port) ? address->port : -1;
  }
  if (port > 0 && listen(listening_fd, kBacklog) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot listen on ", where, " for admin HTTP: ",
                                             errno != 0 ? strerror(errno) : "no such host"));
}

void AdminHttp::State::Serve() {
  // httplib marks the server as running and then makes its queue, so from here on stop() works.
  server.new_task_queue = [this] {
    loop_entered.Notify();
    return new BoundedPool;  // owned by httplib
  };
  thread = std::thread([this] {
    server.listen_after_bind();
    if (!loop_entered.HasBeenNotified()) loop_entered.Notify();
  });
  // A stop() before the accept loop runs would be lost.
  loop_entered.WaitForNotification();
}

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const std::string& listen,
                                                            const MetricsPage& metrics,
                                                            Readiness readiness) {
  auto state = std::make_unique<State>(metrics, std::move(readiness));
  Configure(state->server);
  state->Route();
  if (absl::Status bound = state->Bind(listen); !bound.ok()) return bound;
  state->Serve();
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(state)));
}

AdminHttp::AdminHttp(std::unique_ptr<State> state) : state_(std::move(state)) {}

AdminHttp::~AdminHttp() {
  state_->server.stop();
  state_->thread.join();
}

int AdminHttp::port() const { return state_->port; }

}  // namespace trunkline
