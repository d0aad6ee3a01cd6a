// Short connections against one address: connect, send, read the same number of bytes back, close; always `--parallel` at
// once, for `--seconds`. Prints one JSON object. Client addresses go round 127.0.0.0/24 so that ports do not run out.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "common/address.h"
#include "common/clock.h"
#include "common/socket.h"

namespace {

constexpr uint32_t kFirstSource = 0x7f000001;  // 127.0.0.1
constexpr uint32_t kSources = 32;
constexpr int kMaxEvents = 256;

struct Client {
  int fd = -1;
  size_t received = 0;
  bool sent = false;
  int64_t started = 0;
};

class Load {
 public:
  Load(const trunkline::SocketAddress& target, size_t parallel, size_t bytes)
      : target_(target), clients_(parallel), payload_(bytes, 'x'), buffer_(bytes + 1) {}

  void Run(double seconds) {
    const int64_t end = Now() + static_cast<int64_t>(seconds * 1e9);
    for (Client& client : clients_) Start(client);
    std::array<epoll_event, kMaxEvents> events;
    while (Now() < end) {
      const int count = epoll_wait(epoll_.get(), events.data(), kMaxEvents, 100);
      for (int i = 0; i < count; ++i) Step(*static_cast<Client*>(events[i].data.ptr));
    }
  }

  void Print() {
    std::sort(nanos_.begin(), nanos_.end());
    const auto at = [&](double q) {
      return nanos_.empty() ? 0.0 : nanos_[static_cast<size_t>(q * (nanos_.size() - 1))] / 1e3;
    };
    std::printf("{\"connections\": %zu, \"errors\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
                nanos_.size(), errors_, at(0.5), at(0.99));
  }

 private:
  static int64_t Now() { return trunkline::MonotonicNow().nanos(); }

  void Start(Client& client) {
    client = Client{.started = Now()};
    client.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int one = 1;
    setsockopt(client.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = htonl(kFirstSource + (next_source_++ % kSources));
    bind(client.fd, reinterpret_cast<sockaddr*>(&source), sizeof source);
    const int rc = connect(client.fd, reinterpret_cast<const sockaddr*>(&target_.storage), target_.size);
    if (rc != 0 && errno != EINPROGRESS) {
      std::fprintf(stderr, "connect: %s\n", trunkline::ErrorText(errno).c_str());
      std::exit(1);
    }
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = &client}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, client.fd, &event);
  }

  void Step(Client& client) {
    if (!client.sent) {
      const ssize_t n = send(client.fd, payload_.data(), payload_.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) return;
      if (n != static_cast<ssize_t>(payload_.size())) return Fail(client);
      client.sent = true;
      return;
    }
    const ssize_t n = recv(client.fd, buffer_.data(), buffer_.size(), 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return Fail(client);
    client.received += n;
    if (client.received < payload_.size()) return;
    nanos_.push_back(Now() - client.started);
    close(client.fd);
    Start(client);
  }

  void Fail(Client& client) {
    ++errors_;
    close(client.fd);
    Start(client);
  }

  const trunkline::SocketAddress target_;
  const trunkline::UniqueFd epoll_{epoll_create1(0)};
  std::vector<Client> clients_;
  const std::string payload_;
  std::vector<char> buffer_;
  std::vector<int64_t> nanos_;
  size_t errors_ = 0;
  uint32_t next_source_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Short connections for benchmarks"};
  std::string target;
  size_t parallel = 64;
  size_t bytes = 128;
  double seconds = 2;
  app.add_option("--target", target, "host:port")->required();
  app.add_option("--parallel", parallel, "connections at once");
  app.add_option("--bytes", bytes, "payload each way");
  app.add_option("--seconds", seconds, "how long");
  CLI11_PARSE(app, argc, argv);
  const auto address = trunkline::ParseAddress(target);
  if (!address.ok()) {
    std::fprintf(stderr, "%s\n", address.status().ToString().c_str());
    return 2;
  }
  const auto resolved = trunkline::ResolveAddress(*address);
  if (!resolved.ok()) {
    std::fprintf(stderr, "%s\n", resolved.status().ToString().c_str());
    return 2;
  }
  Load load(*resolved, parallel, bytes);
  load.Run(seconds);
  load.Print();
}
