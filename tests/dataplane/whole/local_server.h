// Servers that a test plays itself, and waiting for what no socket tells.
#pragma once

#include <functional>
#include <string>

#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {

// For what no socket tells. False after 20 s.
bool Eventually(const std::function<bool()>& condition);

// A server that clients reach; the test accepts and speaks.
class LocalServer {
 public:
  LocalServer() : LocalServer(Address{.host = "127.0.0.1", .port = 0}) {}
  explicit LocalServer(const Address& address);

  const Address& address() const { return address_; }
  Peer Accept(int millis = kPatienceMillis) const { return AcceptPeer(listener_.get(), millis); }
  // Somebody waits to be accepted.
  bool Knocked(int millis) const { return WaitFor(listener_.get(), POLLIN, millis); }
  int fd() const { return listener_.get(); }
  // Further connects are refused; connections live on. The port stays held until the end of the
  // process: a test that runs beside this one never gets it.
  void StopListening();

 private:
  Address address_;
  UniqueFd listener_;
};

// Keeps a TCP port of 127.0.0.1 from whoever asks for any port, until the end of the process: one
// that is listened on now with SO_REUSEPORT, and soon no more.
void HoldPort(uint16_t port);

// A port on which nobody listens, held until the end of the process.
Address RefusingAddress();

// Allows this process `wanted` descriptors, or as many as it may have; returns how many.
size_t AllowDescriptors(size_t wanted);

// `from` sends `bytes`, and `to` reads just these.
void ExpectCarried(Peer& from, Peer& to, const std::string& bytes);

// Sends `question`, lets the server read it and send `answer`, and reads that.
void ExpectExchange(Peer& client, Peer& server, const std::string& question,
                    const std::string& answer);

}  // namespace trunkline::test
