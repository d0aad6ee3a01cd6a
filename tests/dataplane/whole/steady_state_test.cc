// A request on an open connection makes no memory allocation of ours, in any mode: the proxy reuses
// what it has. (libnghttp2 allocates for its frames; it does not use operator new and is not
// counted.)
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "dataplane/codec/length_field.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/tunnel.h"

namespace {

std::atomic<uint64_t> allocations = 0;
thread_local bool is_tests_own = false;

void* AllocateOrNull(size_t size) {
  if (!is_tests_own) allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size);
}

void* Allocate(size_t size) {
  if (void* memory = AllocateOrNull(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// AddressSanitizer has a nothrow form of its own, whose memory these deletes must not free.
void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return AllocateOrNull(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return AllocateOrNull(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace trunkline {
namespace {

using test::ConnectPeer;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

// Returns a request: a length of two bytes and as many x.
std::string Request() { return std::string("\0\x40", 2) + std::string(0x40, 'x'); }

// Echoes the bytes of each connection until it ends.
class EchoServer {
 public:
  EchoServer() : acceptor_([this] { Run(); }) {}
  ~EchoServer() {
    stopping_ = true;
    ConnectPeer(local_.address());
    acceptor_.join();
    for (std::thread& one : serving_) one.join();
  }
  const Address& address() const { return local_.address(); }

 private:
  void Run() {
    is_tests_own = true;
    while (true) {
      auto peer = std::make_shared<Peer>(local_.Accept());
      if (stopping_) return;
      serving_.emplace_back([peer] {
        is_tests_own = true;
        char bytes[4096];
        ssize_t n = 0;
        while ((n = recv(peer->fd(), bytes, sizeof bytes, 0)) > 0) {
          if (!peer->Send(std::string(bytes, static_cast<size_t>(n)))) return;
        }
      });
    }
  }

  LocalServer local_;
  std::atomic<bool> stopping_ = false;
  std::vector<std::thread> serving_;
  std::thread acceptor_;
};

void Exchange(std::vector<Peer>& clients, int rounds) {
  const std::string request = Request();
  for (int round = 0; round < rounds; ++round) {
    for (Peer& client : clients) ASSERT_TRUE(client.Send(request));
    for (Peer& client : clients) ASSERT_EQ(client.Read(request.size()), request);
  }
}

// Returns the allocations of request rounds after everything has been used once: the least of
// several stretches, because a buffer may grow once when a busy machine lets more bytes accumulate
// than before.
uint64_t AllocationsOf(const Address& proxy) {
  constexpr int kStretches = 5;
  constexpr size_t kClients = 8;
  constexpr int kWarmUp = 200;
  constexpr int kRounds = 300;
  std::vector<Peer> clients;
  for (size_t i = 0; i < kClients; ++i) clients.push_back(ConnectPeer(proxy));
  Exchange(clients, kWarmUp);
  EXPECT_GT(allocations, 0u) << "setting up is counted";
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < kStretches && least > 0; ++i) {
    const uint64_t before = allocations;
    Exchange(clients, kRounds);
    least = std::min<uint64_t>(least, allocations - before);
  }
  return least;
}

class SteadyStateTest : public ::testing::Test {
 protected:
  SteadyStateTest() { is_tests_own = true; }

  // Starts a data plane with one service that forwards directly to `server`.
  Address Serve(ForwardingMode mode, const Address& server) {
    auto set = std::make_shared<EndpointSet>();
    set->service = "echo";
    set->listen = {{.host = "127.0.0.1", .port = 0}};
    set->stats = stats_.Listener("echo");
    set->mode = mode;
    if (mode == ForwardingMode::kMessage) {
      auto message = std::make_shared<MessageService>();
      message->connection.codec = NewLengthFieldCodec({.length_size = 2}).value();
      set->message = message;
    }
    Endpoint endpoint;
    endpoint.id = "e";
    endpoint.address = server.ToString();
    endpoint.addresses = KnownAddresses(server);
    endpoint.weight = 1;
    endpoint.stats = stats_.Endpoint("echo", "e");
    set->endpoints.push_back(endpoint);
    auto table = std::make_shared<RoutingTable>();
    table->services.push_back(set);
    data_plane_.Apply(table);
    return ParseAddress(data_plane_.Listening().at("echo").front()).value();
  }

  EchoServer server_;
  TrafficStats stats_{1};
  DataPlane data_plane_{{.workers = 1, .random_seed = 1}, stats_};
};

TEST_F(SteadyStateTest, TunnelAllocatesNothing) {
  Tunnel tunnel;
  tunnel.AddAgent(server_.address());
  tunnel.Start();
  EXPECT_EQ(AllocationsOf(tunnel.listening()), 0u);
}

TEST_F(SteadyStateTest, MessageAllocatesNothing) {
  EXPECT_EQ(AllocationsOf(Serve(ForwardingMode::kMessage, server_.address())), 0u);
}

TEST_F(SteadyStateTest, DirectAllocatesNothing) {
  EXPECT_EQ(AllocationsOf(Serve(ForwardingMode::kDirect, server_.address())), 0u);
}

}  // namespace
}  // namespace trunkline
