// The clients of every benchmark, one kind a command:
//
//   short  connect, one request, close; always --parallel at once
//   kept   --parallel connections, one request after the other on each
//   open   short connections at --rate a second, whatever happens; latency from the intended time
//   paced  --parallel kept connections in turn, --rate requests a second, latency likewise
//   bulk   --parallel connections that each fetch --bytes from a bulk port, again and again
//   upload --parallel connections that send to a sink port for as long as it takes them
//   idle   --parallel connections that do nothing until standard input ends
//
// A request is --bytes long and begins with its length after the first four bytes (big endian, so
// that a length-field codec can frame it); the reply is as long. Runs for --seconds and prints one
// JSON object; SIGTERM ends it sooner, with what it has. What failed counts as the slowest in
// percentiles. Client addresses go round 127.0.0.0/27 so that ports do not run out.
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
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
// Open loop: what is not answered by then is a failure.
constexpr int64_t kGraceNanos = 2'000'000'000;
// Many who connect at once may have to ask again, after a second and then two.
constexpr int64_t kWarmUpNanos = 10'000'000'000;

// SIGTERM came.
volatile sig_atomic_t stopped = 0;

int64_t Now() { return trunkline::MonotonicNow().nanos(); }

struct Options {
  std::string target;
  size_t parallel = 64;
  size_t bytes = 128;
  double seconds = 2;
  double rate = 1000;
};

struct Client {
  int fd = -1;
  size_t sent = 0;
  size_t received = 0;
  int64_t started = 0;
};

// A length, then what it counts.
std::string Framed(size_t bytes) {
  std::string request(std::max(bytes, kLengthBytes), 'x');
  const uint32_t length = htonl(static_cast<uint32_t>(request.size() - kLengthBytes));
  std::memcpy(request.data(), &length, sizeof length);
  return request;
}

class Load {
 public:
  Load(Options options, const trunkline::SocketAddress& target)
      : options_(std::move(options)), target_(target), buffer_(1 << 18) {}
  virtual ~Load() = default;

  virtual void Run() = 0;
  virtual void Print() {
    const size_t done = nanos_.size();
    std::sort(nanos_.begin(), nanos_.end());
    // Nobody got an answer there: as bad as the slowest, and as the longest that anybody waited.
    const int64_t worst = std::max(kGraceNanos, done == 0 ? 0 : nanos_.back());
    nanos_.resize(done + errors_, worst);
    const auto at = [&](double q) {
      return nanos_.empty() ? 0.0 : nanos_[static_cast<size_t>(q * (nanos_.size() - 1))] / 1e3;
    };
    std::printf(
        "{\"done\": %zu, \"errors\": %zu, \"connect_errors\": %zu, \"broken\": %zu, "
        "\"timeouts\": %zu, "
        "\"bytes\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
        "\"p999_us\": %.1f}\n",
        done, errors_, connect_errors_, errors_ - connect_errors_ - timeouts_, timeouts_,
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
    if (rc == 0)
      rc = connect(client.fd, reinterpret_cast<const sockaddr*>(&target_.storage), target_.size);
    if (client.fd < 0 || (rc != 0 && errno != EINPROGRESS)) {
      std::fprintf(stderr, "connect: %s\n", trunkline::ErrorText(errno).c_str());
      std::exit(1);
    }
  }
  void Watch(Client& client, uint32_t events) {
    epoll_event event{.events = events | EPOLLET, .data = {.ptr = &client}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, client.fd, &event);
  }
  // False: it failed.
  bool Send(Client& client, const std::string& request) {
    if (client.sent == request.size()) return true;
    const ssize_t n =
        send(client.fd, request.data() + client.sent, request.size() - client.sent, MSG_NOSIGNAL);
    if (n > 0) client.sent += static_cast<size_t>(n);
    if (n > 0 || errno == EAGAIN) return true;
    // The kernel's words for a connect that came to nothing; all others are of a connection.
    if (errno == ECONNREFUSED || errno == ETIMEDOUT || errno == EHOSTUNREACH) ++connect_errors_;
    return false;
  }
  // Bytes that came, 0 where there are none, -1 at an end.
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
      // To the nanosecond: who spins through a part of a millisecond takes the core from the
      // servers that share it, and measures that.
      const int64_t wait = std::min(kMaxWaitNanos, end - now);
      const timespec timeout{.tv_sec = wait / 1'000'000'000, .tv_nsec = wait % 1'000'000'000};
      const int count = epoll_pwait2(epoll_.get(), events.data(), kMaxEvents, &timeout, nullptr);
      for (int i = 0; i < count; ++i) step(*static_cast<Client*>(events[i].data.ptr));
    }
  }
  // Connects all of `clients` and lets each go on by `step` until the time is over.
  template <typename Step>
  void RunAll(std::vector<Client>& clients, Step step) {
    const int64_t start = Now();
    for (Client& client : clients) Connect(client);
    Poll(End(), step);
    ran_seconds_ = (Now() - start) / 1e9;
  }
  int64_t End() const { return Now() + static_cast<int64_t>(options_.seconds * 1e9); }

  const Options options_;
  const trunkline::SocketAddress target_;
  const trunkline::UniqueFd epoll_{epoll_create1(0)};
  std::vector<char> buffer_;
  std::vector<int64_t> nanos_;
  // All; of these, those that were not connected, and those that waited in vain. What is neither
  // broke after it was connected.
  size_t errors_ = 0;
  size_t connect_errors_ = 0;
  size_t timeouts_ = 0;
  uint64_t bytes_ = 0;
  double ran_seconds_ = 0;

 private:
  uint32_t next_source_ = 0;
};

// One request a connection, or one after the other.
class ClosedLoop final : public Load {
 public:
  ClosedLoop(Options options, const trunkline::SocketAddress& target, bool keep)
      : Load(std::move(options), target),
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
  OpenLoop(Options options, const trunkline::SocketAddress& target)
      : Load(std::move(options), target), request_(Framed(options_.bytes)) {}

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
    stopped = 0;  // what is under way is waited for
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
    // Over loopback it is connected by now: to be told of it would take one more wake, and the core
    // is shared with those who serve.
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

// Open loop on connections that are there already. One whose turn comes while it waits for a reply
// asks as soon as that is there: its latency counts from the turn all the same.
class PacedLoop final : public Load {
 public:
  PacedLoop(Options options, const trunkline::SocketAddress& target)
      : Load(std::move(options), target),
        request_(Framed(options_.bytes)),
        users_(options_.parallel) {}

  void Run() override {
    for (User& user : users_) Connect(user);
    // Connected and in the server's hands, before anything is measured.
    for (User& user : users_) Ask(user, Now());
    const int64_t patience = Now() + kWarmUpNanos;
    while (nanos_.size() < users_.size() && Now() < patience && !stopped) Turn(Now() + 1'000'000);
    if (nanos_.size() < users_.size()) {
      std::fprintf(stderr, "%zu of %zu were served\n", nanos_.size(), users_.size());
      std::exit(1);
    }
    nanos_.clear();
    const int64_t start = Now();
    const int64_t end = End();
    const double interval = 1e9 / options_.rate;
    size_t begun = 0;
    for (int64_t now = start; now < end && !stopped; now = Now()) {
      for (; Intended(start, begun, interval) <= now; ++begun) {
        Ask(users_[begun % users_.size()], Intended(start, begun, interval));
      }
      Turn(std::min(end, Intended(start, begun, interval)));
    }
    ran_seconds_ = (std::min(end, Now()) - start) / 1e9;
    stopped = 0;
    const int64_t last = Now() + kGraceNanos;
    while (nanos_.size() + errors_ < begun && Now() < last) Turn(Now() + 1'000'000);
    errors_ = timeouts_ = begun - nanos_.size();  // all were connected
    connect_errors_ = 0;
  }

 private:
  struct User : Client {
    std::deque<int64_t> turns;  // intended times of what is not answered yet
  };

  static int64_t Intended(int64_t start, size_t number, double interval) {
    return start + static_cast<int64_t>(static_cast<double>(number) * interval);
  }
  void Turn(int64_t end) {
    Poll(end, [this](Client& client) { Step(static_cast<User&>(client)); });
  }
  void Ask(User& user, int64_t intended) {
    user.turns.push_back(intended);
    if (user.turns.size() == 1) Send(user, request_);
  }
  void Step(User& user) {
    if (user.turns.empty() || user.fd < 0) return;
    if (!Send(user, request_)) return Close(user);
    const ssize_t n = Receive(user);
    if (n < 0) return Close(user);
    user.received += static_cast<size_t>(n);
    if (user.received < request_.size()) return;
    nanos_.push_back(Now() - user.turns.front());
    user.turns.pop_front();
    user.sent = user.received = 0;
    if (!user.turns.empty()) Send(user, request_);
  }

  const std::string request_;
  std::vector<User> users_;
};

// Each fetch is a connection: eight bytes that say how much, then that much.
class Bulk final : public Load {
 public:
  Bulk(Options options, const trunkline::SocketAddress& target)
      : Load(std::move(options), target), clients_(options_.parallel) {
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

// Sends for as long as it may; what counts are bytes.
class Upload final : public Load {
 public:
  Upload(Options options, const trunkline::SocketAddress& target)
      : Load(std::move(options), target),
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
    // There is room for more, of which epoll has told already: it tells again.
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = &client}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, client.fd, &event);
  }
  void Again(Client& client) {
    ++errors_;
    Close(client);
    Connect(client);
  }

  // Of one client, before the others have their turn.
  static constexpr int kPiecesAtATime = 8;

  const std::string piece_;
  std::vector<Client> clients_;
};

class Idle final : public Load {
 public:
  Idle(Options options, const trunkline::SocketAddress& target)
      : Load(std::move(options), target), clients_(options_.parallel) {}

  void Run() override {
    for (Client& client : clients_) Connect(client);
    // Each is told of when it is connected; an end before that is a failure.
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
                           const trunkline::SocketAddress& target) {
  if (kind == "short" || kind == "kept")
    return std::make_unique<ClosedLoop>(options, target, kind == "kept");
  if (kind == "open") return std::make_unique<OpenLoop>(options, target);
  if (kind == "paced") return std::make_unique<PacedLoop>(options, target);
  if (kind == "bulk") return std::make_unique<Bulk>(options, target);
  if (kind == "upload") return std::make_unique<Upload>(options, target);
  return std::make_unique<Idle>(options, target);
}

}  // namespace

// The default of 1,024 descriptors is soon used up in open loop.
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
  app.add_option("--target", options.target, "host:port")->required();
  app.add_option("--parallel", options.parallel, "connections at once");
  app.add_option("--bytes", options.bytes, "of a request and of its reply; of a fetch");
  app.add_option("--seconds", options.seconds, "how long");
  app.add_option("--rate", options.rate, "connections or requests a second (open, paced)");
  for (const char* kind : {"short", "kept", "open", "paced", "bulk", "upload", "idle"})
    app.add_subcommand(kind);
  CLI11_PARSE(app, argc, argv);
  const auto address = trunkline::ParseAddress(options.target);
  if (!address.ok()) {
    std::fprintf(stderr, "%s\n", address.status().ToString().c_str());
    return 2;
  }
  const auto resolved = trunkline::ResolveAddress(*address);
  if (!resolved.ok()) {
    std::fprintf(stderr, "%s\n", resolved.status().ToString().c_str());
    return 2;
  }
  RaiseDescriptorLimit();
  prctl(PR_SET_TIMERSLACK, 1);  // the default adds 50 us to each wait
  // Without SA_RESTART: it ends waits.
  struct sigaction action {};
  action.sa_handler = [](int) { stopped = 1; };
  sigaction(SIGTERM, &action, nullptr);
  const std::unique_ptr<Load> load =
      Make(app.get_subcommands().front()->get_name(), options, *resolved);
  load->Run();
  load->Print();
}
