#include "common/observe/admin_http.h"

#include <errno.h>
#include <httplib.h>
#include <string.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/net/address.h"

namespace trunkline {
namespace {

// Scrapers, probes and an operator's curl; each request is short.
constexpr int kThreads = 4;
// Accepted and waiting for a thread. Beyond this the accept loop waits and the kernel's backlog
// holds the rest.
constexpr size_t kMaxWaiting = 64;
// A peer that says nothing, or does not read, frees its thread after this long.
constexpr std::chrono::seconds kPeerTimeout{2};
// One request a connection, so that an idle scraper holds no thread and the server stops at once.
constexpr size_t kRequestsPerConnection = 1;
// httplib asks for 5, which a few scrapers at once overflow.
constexpr int kBacklog = 128;
// Nothing here takes a body.
constexpr size_t kMaxBodyBytes = 1024;

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kPaths[] = "not found; there are /metrics, /healthz and /readyz\n";

// httplib's own pool queues without bound. Thread-safe.
class BoundedPool : public httplib::TaskQueue {
 public:
  BoundedPool() {
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Work(); });
  }

  void enqueue(std::function<void()> task) override {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](std::deque<std::function<void()>>* waiting) { return waiting->size() < kMaxWaiting; },
        &waiting_));
    waiting_.push_back(std::move(task));
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

  // Empty when the pool stops. Tasks own sockets, so those still waiting are run, not dropped.
  std::function<void()> Take() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](BoundedPool* pool) ABSL_EXCLUSIVE_LOCKS_REQUIRED(pool->mutex_) {
          return !pool->waiting_.empty() || pool->stopping_;
        },
        this));
    if (waiting_.empty()) return nullptr;
    std::function<void()> task = std::move(waiting_.front());
    waiting_.pop_front();
    return task;
  }

  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

void Configure(httplib::Server& server) {
  server.new_task_queue = [] { return new BoundedPool; };  // httplib owns it
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
  int listening_fd = -1;  // httplib owns it
  int port = 0;
  httplib::Server server;
  std::atomic<bool> served{false};
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
  // In place of httplib's SO_REUSEPORT, by which a second process would silently take half of the
  // requests.
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
  thread = std::thread([this] {
    server.listen_after_bind();
    served.store(true);
  });
  // stop() before the accept loop runs would be lost.
  while (!server.is_running() && !served.load()) std::this_thread::yield();
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
