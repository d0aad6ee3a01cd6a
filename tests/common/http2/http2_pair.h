// A client session and a server session joined in memory: each receives the bytes that the other
// produces.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/http2/http2_client_session.h"
#include "common/http2/http2_server_session.h"

namespace trunkline::test {

// Sends the bytes of `source` and records all callbacks.
class TestStream : public Http2Stream {
 public:
  // To send.
  std::string source;
  size_t pulled = 0;
  bool finish = false;  // END_STREAM after the source
  bool abort = false;
  // Recorded.
  std::vector<int> headers;
  std::string received;
  int ends = 0;
  bool end_was_closing = false;
  std::vector<uint32_t> closes;
  // Consumes received bytes at once.
  bool consume = true;
  std::function<void(TestStream&)> on_headers = [](TestStream&) {};
  std::function<void(TestStream&)> on_data = [](TestStream&) {};
  std::function<void(TestStream&)> on_end = [](TestStream&) {};
  std::function<void(TestStream&)> on_closed = [](TestStream&) {};
  std::function<void(TestStream&)> on_pull = [](TestStream&) {};

  void Send(const std::string& text, bool last = false) {
    source += text;
    finish = finish || last;
    session()->Ready(this);
  }
  void Abort() {
    abort = true;
    session()->Ready(this);
  }
  using Http2Stream::session;
  // For a stream that the server accepted.
  void Respond(int status) { server_->Respond(this, status); }

 private:
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override {
    on_pull(*this);
    if (abort) return Pull::kAbort;
    *size = std::min(capacity, source.size() - pulled);
    std::memcpy(to, source.data() + pulled, *size);
    pulled += *size;
    if (finish && pulled == source.size()) return Pull::kLast;
    return *size > 0 ? Pull::kMore : Pull::kNothing;
  }
  void OnResponse(int status) override {
    headers.push_back(status);
    on_headers(*this);
  }
  void OnRequest(Http2ServerSession& session) override {
    server_ = &session;
    headers.push_back(0);
    on_headers(*this);
  }
  void OnData(const uint8_t* data, size_t size) override {
    received.append(reinterpret_cast<const char*>(data), size);
    if (consume) session()->Consume(this, size, MonotonicTime());
    on_data(*this);
  }
  void OnEnd(bool closing) override {
    ++ends;
    end_was_closing = closing;
    on_end(*this);
  }
  void OnClosed(uint32_t error_code) override {
    closes.push_back(error_code);
    on_closed(*this);
  }

  Http2ServerSession* server_ = nullptr;
};

struct Frame {
  size_t length;
  uint8_t type;
  uint8_t flags;
  int32_t stream;
  std::string payload;
};

// Parses the complete frames in `bytes`; skips a client's preface.
inline std::vector<Frame> ParseFrames(std::string bytes) {
  constexpr size_t kPreface = 24;
  if (bytes.rfind("PRI ", 0) == 0) bytes.erase(0, kPreface);
  std::vector<Frame> frames;
  for (size_t at = 0; at + 9 <= bytes.size();) {
    const auto byte = [&](size_t i) {
      return static_cast<size_t>(static_cast<uint8_t>(bytes[at + i]));
    };
    Frame frame{
        .length = byte(0) << 16 | byte(1) << 8 | byte(2),
        .type = static_cast<uint8_t>(byte(3)),
        .flags = static_cast<uint8_t>(byte(4)),
        .stream = static_cast<int32_t>(byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8))};
    frame.payload = bytes.substr(at + 9, frame.length);
    at += 9 + frame.length;
    frames.push_back(std::move(frame));
  }
  return frames;
}

// The bytes of one frame.
inline std::string RawFrame(uint8_t type, uint8_t flags, int32_t stream,
                            const std::string& payload = "") {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame.push_back(static_cast<char>(payload.size() >> shift));
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  for (const int shift : {24, 16, 8, 0}) frame.push_back(static_cast<char>(stream >> shift));
  return frame + payload;
}

// Behaviour common to both ends; a subclass has the session.
class Http2End : public Http2ServerSession::Listener {
 public:
  // Returns what is ready, at most about `high_water` bytes.
  std::string TakeOutput(size_t high_water = 256 * 1024) {
    more = base().Produce(high_water);
    std::string bytes(reinterpret_cast<const char*>(output.data()), output.size());
    output.Consume(output.size());
    return bytes;
  }
  absl::Status Give(const std::string& bytes) {
    absl::Status status =
        base().Receive(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), now);
    while (status.ok() && base().has_unread()) status = base().Receive(nullptr, 0, now);
    return status;
  }

  OutputBuffer output;
  MonotonicTime now;
  bool more = false;
  std::vector<int32_t> goaways;
  std::vector<uint32_t> settings;
  std::vector<std::string> authorities;
  std::string known_path = "/known";  // a GET of this path is answered
  std::vector<std::string> gets;      // paths
  // The streams that it accepted, in order.
  std::deque<std::unique_ptr<TestStream>> accepted;
  // 0: accept; otherwise the status of the refusal.
  int refuse_with = 0;
  std::function<void(TestStream&)> prepare = [](TestStream& stream) {
    stream.on_headers = [](TestStream& s) { s.Respond(200); };
  };

  Http2Stream* OnConnect(std::string_view authority, int* status) override {
    authorities.emplace_back(authority);
    if (refuse_with != 0) {
      *status = refuse_with;
      return nullptr;
    }
    accepted.push_back(std::make_unique<TestStream>());
    prepare(*accepted.back());
    return accepted.back().get();
  }
  Http2Stream* OnGet(std::string_view path, int* status) override {
    gets.emplace_back(path);
    return path == known_path ? OnConnect("", status) : nullptr;
  }
  void OnGoAway(int32_t last_stream_id) override { goaways.push_back(last_stream_id); }
  void OnSettings(uint32_t max_streams) override { settings.push_back(max_streams); }
  void OnOutputWanted() override {}

  virtual Http2Session& base() = 0;
};

class Http2Client final : public Http2End {
 public:
  explicit Http2Client(const Http2Session::Options& options = {})
      : session(options, this, &output) {}
  Http2Session& base() override { return session; }

  Http2ClientSession session;
};

class Http2Server final : public Http2End {
 public:
  explicit Http2Server(const Http2Session::Options& options = {})
      : session(options, this, &output) {}
  Http2Session& base() override { return session; }

  Http2ServerSession session;
};

class Http2Pair {
 public:
  // The server announces `extension` and grows its windows by `window_budget`; the client knows the
  // id of the extension.
  explicit Http2Pair(uint32_t max_streams = 1000, Http2Session::Options::Setting extension = {},
                     WindowBudget* window_budget = nullptr)
      : client({.max_streams = max_streams, .extension = {.id = extension.id}}),
        server(
            {.max_streams = max_streams, .extension = extension, .window_budget = window_budget}) {}

  ~Http2Pair() {
    client.session.CloseAll(NGHTTP2_NO_ERROR);
    server.session.CloseAll(NGHTTP2_NO_ERROR);
  }

  // Runs until neither side has output.
  void Pump() {
    while (true) {
      const std::string up = client.TakeOutput();
      EXPECT_TRUE(server.Give(up).ok());
      const std::string down = server.TakeOutput();
      EXPECT_TRUE(client.Give(down).ok());
      to_server += up;
      to_client += down;
      if (up.empty() && down.empty()) return;
    }
  }

  // A stream of the client that lives as long as the pair.
  TestStream& Make() {
    made_.push_back(std::make_unique<TestStream>());
    return *made_.back();
  }
  // Opens a stream; sends nothing yet.
  TestStream& Start(const std::string& authority = "db:5432") {
    TestStream& stream = Make();
    Connect(stream, authority);
    return stream;
  }
  void Connect(TestStream& stream, const std::string& authority = "db:5432") {
    EXPECT_TRUE(client.session.Connect(authority, &stream).ok());
  }
  // Opens a stream and pumps.
  TestStream& Open(const std::string& authority = "db:5432") {
    TestStream& stream = Start(authority);
    Pump();
    return stream;
  }
  TestStream& far() { return *server.accepted.back(); }

  Http2Client client;
  Http2Server server;
  // All bytes so far.
  std::string to_server;
  std::string to_client;

 private:
  std::deque<std::unique_ptr<TestStream>> made_;
};

}  // namespace trunkline::test
