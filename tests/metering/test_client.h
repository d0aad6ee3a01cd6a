// A collector for tests: a connection that sends bytes and awaits each Ack for at most 10 s.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <optional>
#include <string>

#include "common/net/socket.h"
#include "examples/metering/frame.h"
#include "examples/metering/metering.pb.h"

namespace trunkline::metering {

inline Reading TestReading(uint64_t meter, uint64_t sequence, const std::string& payload = "kWh") {
  Reading reading;
  reading.set_meter_id(meter);
  reading.set_sequence(sequence);
  reading.set_taken_at_ms(1'700'000'000'000);
  reading.set_payload(payload);
  return reading;
}

inline std::string FrameOf(const Reading& reading) {
  std::string out;
  AppendFrame(reading.SerializeAsString(), &out);
  return out;
}

class TestClient {
 public:
  explicit TestClient(const Address& address) {
    auto target = ResolveAddress(address);
    EXPECT_TRUE(target.ok()) << target.status();
    ConnectResult result = ConnectTo(*target);
    fd_ = std::move(result.fd);
    WaitFor(POLLOUT);
  }

  void Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno == EAGAIN && !WaitFor(POLLOUT)) return;
      if (n < 0 && errno != EAGAIN) return;
    }
  }
  void FinishSending() { shutdown(fd_.get(), SHUT_WR); }
  void Close() { fd_.Reset(); }

  // Returns nullopt if the server closed the connection instead.
  std::optional<Ack> AwaitAck() {
    while (true) {
      std::string_view bytes = in_;
      auto message = TakeFrame(&bytes);
      EXPECT_TRUE(message.ok());
      if (message.ok() && message->has_value()) {
        Ack ack;
        EXPECT_TRUE(ack.ParseFromString(std::string(**message)));
        in_ = std::string(bytes);
        return ack;
      }
      if (!Receive()) return std::nullopt;
    }
  }
  bool AwaitClose() {
    while (Receive()) {
    }
    return closed_;
  }

 private:
  bool WaitFor(short what) {
    pollfd entry{.fd = fd_.get(), .events = what, .revents = 0};
    return poll(&entry, 1, 10'000) == 1;
  }
  bool Receive() {
    if (!WaitFor(POLLIN)) return false;
    char buffer[4096];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
    closed_ = n <= 0;
    if (n > 0) in_.append(buffer, static_cast<size_t>(n));
    return n > 0;
  }

  UniqueFd fd_;
  std::string in_;
  bool closed_ = false;
};

}  // namespace trunkline::metering
