#include "tests/dataplane/local_server.h"

#include "common/clock.h"

namespace trunkline::test {

bool Eventually(const std::function<bool()>& condition) {
  const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(kPatienceMillis);
  while (!condition()) {
    if (MonotonicNow() > deadline) return false;
    poll(nullptr, 0, 1);
  }
  return true;
}

LocalServer::LocalServer(const Address& address) : address_(address) {
  auto listener = ListenOn(address);
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) return;
  listener_ = *std::move(listener);
  if (!address_.is_unix()) address_.port = static_cast<uint16_t>(BoundPort(listener_.get()));
}

Address RefusingAddress() { return LocalServer().address(); }

void ExpectExchange(Peer& client, Peer& server, const std::string& question,
                    const std::string& answer) {
  EXPECT_TRUE(client.Send(question));
  EXPECT_EQ(server.Read(question.size()), question);
  EXPECT_TRUE(server.Send(answer));
  EXPECT_EQ(client.Read(answer.size()), answer);
}

}  // namespace trunkline::test
