// Servers that a test plays itself.
#pragma once

#include <string>
#include <vector>

#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {

// A listening server; the test accepts connections and uses them.
class LocalServer {
 public:
  LocalServer() : LocalServer(Address{.host = "127.0.0.1", .port = 0}) {}
  explicit LocalServer(const Address& address);

  const Address& address() const { return address_; }
  Peer Accept(int millis = kPatienceMillis) const { return AcceptPeer(listener_.get(), millis); }
  // Returns true if a connection waits in the accept queue.
  bool Knocked(int millis) const { return WaitFor(listener_.get(), POLLIN, millis); }
  int fd() const { return listener_.get(); }
  // Refuses further connects; connections live on. The port stays reserved until the end of the
  // process, so a parallel test never gets it.
  void StopListening();

 private:
  Address address_;
  UniqueFd listener_;
};

// A server that does not answer a connect, because its accept queue is full.
class SilentServer {
 public:
  SilentServer();
  Address address() const;

 private:
  UniqueFd fd_;
  std::vector<ConnectResult> fillers_;
};

// Reserves a TCP port of 127.0.0.1, on which a socket with SO_REUSEPORT listens now, until the end
// of the process, so that the kernel gives it to no other socket later.
void HoldPort(uint16_t port);

// A port on which nothing listens, reserved on all addresses of the machine until the end of the
// process. Listeners of this process may use it.
uint16_t FreePort();

// A port without a listener, reserved until the end of the process.
Address RefusingAddress();

// Raises this process's descriptor limit to `wanted` if possible. Returns the new limit.
size_t AllowDescriptors(size_t wanted);

// Sends `bytes` from `from` and expects that `to` reads exactly these.
void ExpectCarried(Peer& from, Peer& to, const std::string& bytes);

// The client sends `question`; the server reads it and sends `answer`, which the client reads.
void ExpectExchange(Peer& client, Peer& server, const std::string& question,
                    const std::string& answer);

}  // namespace trunkline::test
