// The clients of every benchmark, one command for each kind:
//
//   short  --parallel clients that connect, send one request, close and start again
//   kept   --parallel connections that send requests back to back
//   open   an open loop of --rate short connections per second; latency from the intended time
//   paced  an open loop of --rate requests per second over --parallel kept connections in turn
//   bulk   --parallel connections that repeatedly fetch --bytes from a bulk port
//   upload --parallel connections that send to a sink port without pause
//   idle   --parallel connections that stay idle until standard input ends
//
// A request is --bytes long. Its first four bytes are the length of the rest (big endian, so that a
// length-field codec can frame it). The reply has the same length. Runs for --seconds and prints
// one JSON object; `missed` are requests that failed or took longer than --objective-ms. Several
// --target get connections in turn. SIGTERM ends the run early with the results so far. Failures
// count as the slowest requests in percentiles. Client addresses rotate through 127.0.0.0/27 so
// that ports do not run out.
#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/net/address.h"
#include "common/net/socket.h"

namespace {

constexpr uint32_t kFirstSource = 0x7f000001;  // 127.0.0.1
constexpr uint32_t kSources = 32;
constexpr int kMaxEvents = 256;
constexpr size_t kLengthBytes = 4;
constexpr int64_t kMaxWaitNanos = 100'000'000;
// In an open loop, requests without an answer this long after the end are failures.
constexpr int64_t kGraceNanos = 2'000'000'000;
// When many clients connect at once, the kernel repeats some SYNs after 1 s and then 2 s.
constexpr int64_t kWarmUpNanos = 10'000'000'000;

// Set by SIGTERM.
volatile sig_atomic_t stopped = 0;

int64_t Now() { return trunkline::MonotonicNow().nanos(); }

struct Options {
  std::vector<std::string> targets;
  size_t parallel = 64;
  size_t bytes = 128;
  double seconds = 2;
  double rate = 1000;
  double objective_ms = 50;
};

struct Client {
  int fd = -1;
  size_t sent = 0;
  size_t received = 0;
  int64_t started = 0;
};

// A length and as many bytes.
std::string Framed(size_t bytes) {
  std::string request(std::max(bytes, kLengthBytes), 'x');
  const uint32_t length = htonl(static_cast<uint32_t>(request.size() - kLengthBytes));
  std::memcpy(request.data(), &length, sizeof length);
  return request;
}

class Load {
 public:
  Load(Options options, std::vector<trunkline::SocketAddress> targets)
      : options_(std::move(options)), targets_(std::move(targets)), buffer_(1 << 18) {}
  virtual ~Load() = default;

  virtual void Run() = 0;
  virtual void Print() {
    const size_t done = nanos_.size();
    std::sort(nanos_.begin(), nanos_.end());
    // A request without an answer counts as the slowest request and as the longest wait.
    const int64_t worst = std::max(kGraceNanos, done == 0 ? 0 : nanos_.back());
    nanos_.resize(done + errors_, worst);
    const auto missed = static_cast<size_t>(
        nanos_.end() - std::upper_bound(nanos_.begin(), nanos_.end(),
                                        static_cast<int64_t>(options_.objective_ms * 1e6)));
    const auto at = [&](double q) {
      return nanos_.empty() ? 0.0 : nanos_[static_cast<size_t>(q * (nanos_.size() - 1))] / 1e3;
    };
    std::printf(
        "{\"done\": %zu, \"errors\": %zu, \"connect_errors\": %zu, \"broken\": %zu, "
        "\"timeouts\": %zu, \"missed\": %zu, "
        "\"bytes\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
        "\"p999_us\": %.1f}\n",
        done, errors_, connect_errors_, errors_ - connect_errors_ - timeouts_, timeouts_, missed,
        static_cast<unsigned long long>(bytes_), ran_seconds_, at(0.5), at(0.99), at(0.999));
  }

 protected:
  void Connect(Client& client) {
    Dial(client);
    Watch(client, EPOLLIN | EPOLLOUT);
  }
  void Dial(Client& client) {
    client.sent = client.received = 0;
    client.started = Now();
    client.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int one = 1;
    setsockopt(client.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = htonl(kFirstSource + (next_source_++ % kSources));
    int rc = bind(client.fd, reinterpret_cast<sockaddr*>(&source), sizeof source);
    const trunkline::SocketAddress& target = targets_[next_target_++ % targets_.size()];
    if (rc == 0)
      rc = connect(client.fd, reinterpret_cast<const sockaddr*>(&target.storage), target.size);
    if (client.fd < 0 || (rc != 0 && errno != EINPROGRESS)) {
      std::fprintf(stderr, "connect: %s\n", trunkline::ErrorText(errno).c_str());
      std::exit(1);
    }
  }
  void Watch(Client& client, uint32_t events) {
    epoll_event event{.events = events | EPOLLET, .data = {.ptr = &client}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, client.fd, &event);
  }
  // Returns false if the connection failed.
  bool Send(Client& client, const std::string& request) {
    if (client.sent == request.size()) return true;
    const ssize_t n =
        send(client.fd, request.data() + client.sent, request.size() - client.sent, MSG_NOSIGNAL);
    if (n > 0) client.sent += static_cast<size_t>(n);
    if (n > 0 || errno == EAGAIN) return true;
    // These errors mean that the connect failed; any other error comes from a connection.
    if (errno == ECONNREFUSED || errno == ETIMEDOUT || errno == EHOSTUNREACH) ++connect_errors_;
    return false;
  }
  // Returns the number of bytes received, 0 if none are available, -1 at the end of the connection.
  ssize_t Receive(Client& client) {
    const ssize_t n = recv(client.fd, buffer_.data(), buffer_.size(), 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n > 0) bytes_ += static_cast<uint64_t>(n);
    return n > 0 ? n : -1;
  }
  void Close(Client& client) {
    close(client.fd);
    client.fd = -1;
  }
  // Handles events until `end`.
  template <typename Step>
  void Poll(int64_t end, Step step) {
    std::array<epoll_event, kMaxEvents> events;
    for (int64_t now = Now(); now < end && !stopped; now = Now()) {
      // Waits to the nanosecond: spinning for part of a millisecond would take CPU time from the
      // servers that share the core, and distort the result.
      const int64_t wait = std::min(kMaxWaitNanos, end - now);
      const timespec timeout{.tv_sec = wait / 1'000'000'000, .tv_nsec = wait % 1'000'000'000};
      const int count = epoll_pwait2(epoll_.get(), events.data(), kMaxEvents, &timeout, nullptr);
      for (int i = 0; i < count; ++i) step(*static_cast<Client*>(events[i].data.ptr));
    }
  }
  // Connects all of `clients` and runs `step` on their events until the time is over.
  template <typename Step>
  void RunAll(std::vector<Client>& clients, Step step) {
    const int64_t start = Now();
    for (Client& client : clients) Connect(client);
    Poll(End(), step);
    ran_seconds_ = (Now() - start) / 1e9;
  }
  int64_t End() const { return Now() + static_cast<int64_t>(options_.seconds * 1e9); }

  const Options options_;
  const std::vector<trunkline::SocketAddress> targets_;
  const trunkline::UniqueFd epoll_{epoll_create1(0)};
  std::vector<char> buffer_;
  std::vector<int64_t> nanos_;
  // All errors; failed connects and timeouts among them. The other errors are connections that
  // broke after they were established.
  size_t errors_ = 0;
  size_t connect_errors_ = 0;
  size_t timeouts_ = 0;
  uint64_t bytes_ = 0;
  double ran_seconds_ = 0;

 private:
  uint32_t next_source_ = 0;
  size_t next_target_ = 0;
};

// One request per connection, or back to back on kept connections.
class ClosedLoop final : public Load {
 public:
  ClosedLoop(Options options, std::vector<trunkline::SocketAddress> targets, bool keep)
      : Load(std::move(options), std::move(targets)),
        keep_(keep),
        request_(Framed(options_.bytes)),
        clients_(options_.parallel) {}

  void Run() override {
    RunAll(clients_, [this](Client& client) { Step(client); });
  }

 private:
  void Step(Client& client) {
    const bool sent_before = client.sent == request_.size();
    if (!Send(client, request_)) return Fail(client);
    if (!sent_before) return;
    const ssize_t n = Receive(client);
    if (n < 0) return Fail(client);
    client.received += static_cast<size_t>(n);
    if (client.received < request_.size()) return;
    nanos_.push_back(Now() - client.started);
    if (keep_) {
      client.sent = client.received = 0;
      client.started = Now();
      if (!Send(client, request_)) Fail(client);
    } else {
      Close(client);
      Connect(client);
    }
  }
  void Fail(Client& client) {
    ++errors_;
    Close(client);
    Connect(client);
  }

  const bool keep_;
  const std::string request_;
  std::vector<Client> clients_;
};

class OpenLoop final : public Load {
 public:
  OpenLoop(Options options, std::vector<trunkline::SocketAddress> targets)
      : Load(std::move(options), std::move(targets)), request_(Framed(options_.bytes)) {}

  void Run() override {
    const int64_t start = Now();
    const int64_t end = End();
    const double interval = 1e9 / options_.rate;
    int64_t begun = 0;
    for (int64_t now = start; now < end && !stopped; now = Now()) {
      for (; start + static_cast<int64_t>(begun * interval) <= now; ++begun) {
        Begin(start + static_cast<int64_t>(begun * interval));
      }
      const int64_t next = start + static_cast<int64_t>(begun * interval);
      Poll(std::min(end, next), [this](Client& client) { Step(client); });
    }
    ran_seconds_ = (std::min(end, Now()) - start) / 1e9;
    stopped = 0;  // requests in flight may still finish
    const int64_t patience = Now() + kGraceNanos;
    while (open_ > 0 && Now() < patience) {
      Poll(Now() + 1'000'000, [this](Client& client) { Step(client); });
    }
    timeouts_ = open_;
    errors_ += open_;
  }

 private:
  void Begin(int64_t intended) {
    if (free_.empty()) {
      clients_.emplace_back();
      free_.push_back(&clients_.back());
    }
    Client& client = *free_.back();
    free_.pop_back();
    ++open_;
    Dial(client);
    client.started = intended;
    // Over loopback the connection is established by now. Waiting for its event would cost one more
    // wake-up on a core that the servers share.
    if (!Send(client, request_)) return Finish(client, false);
    Watch(client, client.sent == request_.size() ? EPOLLIN : EPOLLIN | EPOLLOUT);
  }
  void Step(Client& client) {
    if (client.fd < 0) return;
    if (!Send(client, request_)) return Finish(client, false);
    if (client.sent < request_.size()) return;
    const ssize_t n = Receive(client);
    if (n < 0) return Finish(client, false);
    client.received += static_cast<size_t>(n);
    if (client.received >= request_.size()) Finish(client, true);
  }
  void Finish(Client& client, bool good) {
    if (good) nanos_.push_back(Now() - client.started);
    errors_ += good ? 0 : 1;
    Close(client);
    --open_;
    free_.push_back(&client);
  }

  const std::string request_;
  std::deque<Client> clients_;
  std::vector<Client*> free_;
  size_t open_ = 0;
};

// An open loop on established connections. If a connection's turn comes while it awaits a reply, it
// sends the next request right after the reply; the latency still counts from the turn.
class PacedLoop final : public Load {
 public:
  PacedLoop(Options options, std::vector<trunkline::SocketAddress> targets)
      : Load(std::move(options), std::move(targets)),
        request_(Framed(options_.bytes)),
        clients_(options_.parallel),
        turns_(options_.parallel) {}

  void Run() override {
    for (Client& client : clients_) Connect(client);
    // One request per connection before the measurement, so that the server has accepted them all.
    for (size_t i = 0; i < clients_.size(); ++i) Ask(i, Now());
    const int64_t patience = Now() + kWarmUpNanos;
    while (nanos_.size() < clients_.size() && Now() < patience && !stopped) {
      Turn(Now() + 1'000'000);
    }
    if (nanos_.size() < clients_.size()) {
      std::fprintf(stderr, "only %zu of %zu connections got a reply\n", nanos_.size(),
                   clients_.size());
      std::exit(1);
    }
    nanos_.clear();
    const int64_t start = Now();
    const int64_t end = End();
    const double interval = 1e9 / options_.rate;
    size_t begun = 0;
    for (int64_t now = start; now < end && !stopped; now = Now()) {
      for (; Intended(start, begun, interval) <= now; ++begun) {
        Ask(begun % clients_.size(), Intended(start, begun, interval));
      }
      Turn(std::min(end, Intended(start, begun, interval)));
    }
    ran_seconds_ = (std::min(end, Now()) - start) / 1e9;
    stopped = 0;
    const int64_t last = Now() + kGraceNanos;
    while (nanos_.size() + errors_ < begun && Now() < last) Turn(Now() + 1'000'000);
    errors_ = timeouts_ = begun - nanos_.size();  // all connections were established
    connect_errors_ = 0;
  }

 private:
  static int64_t Intended(int64_t start, size_t number, double interval) {
    return start + static_cast<int64_t>(static_cast<double>(number) * interval);
  }
  void Turn(int64_t end) {
    Poll(end, [this](Client& client) { Step(client); });
  }
  void Ask(size_t index, int64_t intended) {
    turns_[index].push_back(intended);
    if (turns_[index].size() == 1) Send(clients_[index], request_);
  }
  void Step(Client& client) {
    std::deque<int64_t>& turns = turns_[static_cast<size_t>(&client - clients_.data())];
    if (turns.empty() || client.fd < 0) return;
    if (!Send(client, request_)) return Close(client);
    const ssize_t n = Receive(client);
    if (n < 0) return Close(client);
    client.received += static_cast<size_t>(n);
    if (client.received < request_.size()) return;
    nanos_.push_back(Now() - turns.front());
    turns.pop_front();
    client.sent = client.received = 0;
    if (!turns.empty()) Send(client, request_);
  }

  const std::string request_;
  std::vector<Client> clients_;
  std::vector<std::deque<int64_t>> turns_;  // of each client: intended times of unanswered requests
};

// Each fetch is one connection: eight bytes with the size, then as many bytes back.
class Bulk final : public Load {
 public:
  Bulk(Options options, std::vector<trunkline::SocketAddress> targets)
      : Load(std::move(options), std::move(targets)), clients_(options_.parallel) {
    const uint64_t size = htobe64(options_.bytes);
    request_.assign(reinterpret_cast<const char*>(&size), sizeof size);
  }

  void Run() override {
    RunAll(clients_, [this](Client& client) { Step(client); });
  }

 private:
  void Step(Client& client) {
    if (!Send(client, request_)) return Again(client, false);
    while (true) {
      const ssize_t n = Receive(client);
      if (n == 0) return;
      if (n < 0) return Again(client, false);
      client.received += static_cast<size_t>(n);
      if (client.received >= options_.bytes) return Again(client, true);
    }
  }
  void Again(Client& client, bool good) {
    if (good) nanos_.push_back(Now() - client.started);
    errors_ += good ? 0 : 1;
    Close(client);
    Connect(client);
  }

  std::string request_;
  std::vector<Client> clients_;
};

// Sends until the time is over; the result is the number of bytes.
class Upload final : public Load {
 public:
  Upload(Options options, std::vector<trunkline::SocketAddress> targets)
      : Load(std::move(options), std::move(targets)),
        piece_(buffer_.size(), 'x'),
        clients_(options_.parallel) {}

  void Run() override {
    RunAll(clients_, [this](Client& client) { Step(client); });
  }

 private:
  void Step(Client& client) {
    for (int i = 0; i < kPiecesAtATime; ++i) {
      client.sent = 0;
      if (!Send(client, piece_)) return Again(client);
      bytes_ += client.sent;
      if (client.sent < piece_.size()) return;
    }
    // The socket has room left, but its edge-triggered event is used up: ask for it again.
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = &client}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, client.fd, &event);
  }
  void Again(Client& client) {
    ++errors_;
    Close(client);
    Connect(client);
  }

  // Pieces that one client sends before the others get their turn.
  static constexpr int kPiecesAtATime = 8;

  const std::string piece_;
  std::vector<Client> clients_;
};

class Idle final : public Load {
 public:
  Idle(Options options, std::vector<trunkline::SocketAddress> targets)
      : Load(std::move(options), std::move(targets)), clients_(options_.parallel) {}

  void Run() override {
    for (Client& client : clients_) Connect(client);
    // Each connection raises one event, when it is established.
    size_t up = 0;
    const int64_t patience = Now() + static_cast<int64_t>(options_.seconds * 1e9);
    while (up < clients_.size() && Now() < patience && !stopped) {
      Poll(Now() + 10'000'000, [&](Client&) { ++up; });
    }
    std::printf("{\"connected\": %zu}\n", up);
    std::fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
  }
  void Print() override {}

 private:
  std::vector<Client> clients_;
};

std::unique_ptr<Load> Make(const std::string& kind, const Options& options,
                           const std::vector<trunkline::SocketAddress>& targets) {
  if (kind == "short" || kind == "kept")
    return std::make_unique<ClosedLoop>(options, targets, kind == "kept");
  if (kind == "open") return std::make_unique<OpenLoop>(options, targets);
  if (kind == "paced") return std::make_unique<PacedLoop>(options, targets);
  if (kind == "bulk") return std::make_unique<Bulk>(options, targets);
  if (kind == "upload") return std::make_unique<Upload>(options, targets);
  return std::make_unique<Idle>(options, targets);
}

}  // namespace

// An open loop soon uses up the default of 1,024 descriptors.
void RaiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char** argv) {
  CLI::App app{"Clients for benchmarks"};
  Options options;
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--target", options.targets, "host:port")->required();
  app.add_option("--parallel", options.parallel, "number of concurrent connections");
  app.add_option("--bytes", options.bytes, "bytes of a request and of its reply, or of a fetch");
  app.add_option("--seconds", options.seconds, "seconds to run");
  app.add_option("--rate", options.rate, "connections or requests per second (open, paced)");
  app.add_option("--objective-ms", options.objective_ms, "milliseconds that a request may take");
  for (const char* kind : {"short", "kept", "open", "paced", "bulk", "upload", "idle"})
    app.add_subcommand(kind);
  CLI11_PARSE(app, argc, argv);
  std::vector<trunkline::SocketAddress> targets;
  for (const std::string& text : options.targets) {
    const auto address = trunkline::ParseAddress(text);
    const auto resolved = address.ok() ? trunkline::ResolveAddress(*address) : address.status();
    if (!resolved.ok()) {
      std::fprintf(stderr, "%s\n", resolved.status().ToString().c_str());
      return 2;
    }
    targets.push_back(*resolved);
  }
  RaiseDescriptorLimit();
  prctl(PR_SET_TIMERSLACK, 1);  // the default adds 50 us to each wait
  // Without SA_RESTART, so that the signal interrupts a wait.
  struct sigaction action {};
  action.sa_handler = [](int) { stopped = 1; };
  sigaction(SIGTERM, &action, nullptr);
  const std::unique_ptr<Load> load =
      Make(app.get_subcommands().front()->get_name(), options, targets);
  load->Run();
  load->Print();
}
