// A trunk session against a hostile peer, both roles.
//
// Input: mode (1 byte), seed (1 byte: sizes of pieces and our actions between them), then the
// peer's bytes. Mode bits, lowest first: the session under test is the client; received bytes are
// not consumed; streams are refused (server role) or have much to send (client role); the peer's
// bytes are raw. Without that last bit the peer's preface and SETTINGS come first, and the input is
// frames, each of type, flags, stream id and size, a byte each, and the payload. Their lengths are
// therefore valid, and mutations reach the code behind the length check. Sizes from 250 on select
// payloads of zeros (kFillers).
#include <algorithm>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/fuzz/fuzz_input.h"

namespace trunkline {
namespace {

using test::FuzzInput;
using test::Http2Client;
using test::Http2End;
using test::Http2Server;
using test::TestStream;

constexpr uint8_t kClientRole = 1;
constexpr uint8_t kHoldBack = 2;
constexpr uint8_t kRefuseOrSend = 4;
constexpr uint8_t kRawBytes = 8;

// About one frame, exactly the largest frame, and one byte too many.
constexpr size_t kFillers[] = {300, 4000, 16383, 16384, 16385, 20000};
constexpr size_t kFirstFiller = 250;

std::string Frame(uint8_t type, uint8_t flags, uint8_t stream, const std::string& payload) {
  const size_t size = payload.size();
  std::string frame = {static_cast<char>(size >> 16),
                       static_cast<char>(size >> 8),
                       static_cast<char>(size),
                       static_cast<char>(type),
                       static_cast<char>(flags),
                       0,
                       0,
                       0,
                       static_cast<char>(stream)};
  return frame + payload;
}

std::string PeerBytes(uint8_t mode, FuzzInput& input) {
  if ((mode & kRawBytes) != 0) return input.TakeRest();
  const bool peer_is_client = (mode & kClientRole) == 0;
  std::string bytes = peer_is_client ? "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" : "";
  bytes += Frame(NGHTTP2_SETTINGS, 0, 0, "");
  while (!input.empty()) {
    const uint8_t type = input.Byte();
    const uint8_t flags = input.Byte();
    const uint8_t stream = input.Byte();
    const size_t size = input.Byte();
    bytes += Frame(
        type, flags, stream,
        size < kFirstFiller ? input.Take(size) : std::string(kFillers[size - kFirstFiller], '\0'));
  }
  return bytes;
}

// A stream gets no callback after its OnClosed.
void Watch(TestStream& stream) {
  const auto alive = [](TestStream& s) {
    EXPECT_TRUE(s.closes.empty()) << "callback after OnClosed";
  };
  stream.on_data = alive;
  stream.on_end = alive;
  stream.on_pull = alive;
}

// Our own actions between two pieces of the peer's.
void Act(Http2End& end, std::vector<TestStream*> streams, FastRandom& random) {
  if (random.Next() % 16 == 0) end.base().Ping();
  std::erase_if(streams, [](const TestStream* stream) { return !stream->attached(); });
  if (streams.empty()) return;
  TestStream& stream = *streams[random.Next() % streams.size()];
  switch (random.Next() % 8) {
    case 0:
      stream.Send("reply");
      break;
    case 1:
      stream.Send("the last words", /*last=*/true);
      break;
    case 2:
      stream.Abort();
      break;
    default:
      break;
  }
}

// Bounds the output that the peer can provoke beyond our own data: frames of 13 bytes for frames of
// at least 9, and frames that are sent once (SETTINGS, windows, GOAWAY with a reason).
void CheckAnswerSize(size_t answer, size_t heard, size_t own_data) {
  constexpr size_t kSaidOnce = 1000;
  constexpr size_t kForEachByte = 8;
  EXPECT_LE(answer, kSaidOnce + kForEachByte * heard + 2 * own_data);
}

class Run {
 public:
  Run(uint8_t mode, uint8_t seed) : mode_(mode), random_(seed) {
    if ((mode & kClientRole) == 0) end_ = &server_;
    end_->prepare = [this](TestStream& stream) {
      Prepare(stream);
      stream.on_headers = [this](TestStream& s) {
        s.Respond((mode_ & kRefuseOrSend) != 0 ? 503 : 200);
      };
    };
    if ((mode & kClientRole) == 0) return;
    constexpr size_t kOwnStreams = 5;
    for (size_t i = 0; i < kOwnStreams; ++i) {
      opened_.push_back(std::make_unique<TestStream>());
      Prepare(*opened_.back());
      opened_.back()->source.assign((mode & kRefuseOrSend) != 0 ? 20'000 : 50, 'x');
      EXPECT_TRUE(client_.session.Connect("db:1", opened_.back().get()).ok());
    }
    answer_ += end_->TakeOutput().size();
  }

  void Feed(const std::string& bytes) {
    size_t heard = 0;
    while (heard < bytes.size()) {
      const size_t most = size_t{1} << random_.Next() % 13;
      const size_t size = std::min<size_t>(1 + random_.Next() % most, bytes.size() - heard);
      const bool good = end_->Give(bytes.substr(heard, size)).ok();
      heard += size;
      if (!good) break;
      if (random_.Next() % 2 == 0) answer_ += end_->TakeOutput(64 * 1024).size();
      Act(*end_, Streams(), random_);
    }
    answer_ += end_->TakeOutput().size();
    Check(heard);
  }

 private:
  void Prepare(TestStream& stream) {
    stream.consume = (mode_ & kHoldBack) == 0;
    Watch(stream);
  }
  std::vector<TestStream*> Streams() const {
    std::vector<TestStream*> streams;
    for (const auto& stream : opened_) streams.push_back(stream.get());
    for (const auto& stream : end_->accepted) streams.push_back(stream.get());
    return streams;
  }

  void Check(size_t heard) {
    constexpr size_t kFrameHead = 9;
    EXPECT_LE(end_->base().open_streams(), opened_.size() + heard / kFrameHead)
        << "the count went below zero";
    end_->base().CloseAll(NGHTTP2_INTERNAL_ERROR);
    size_t received = 0;
    size_t own_data = 0;
    for (const TestStream* stream : Streams()) {
      EXPECT_FALSE(stream->attached());
      EXPECT_LE(stream->closes.size(), 1u);
      received += stream->received.size();
      own_data += stream->pulled;
    }
    for (const auto& stream : opened_) EXPECT_EQ(stream->closes.size(), 1u);
    EXPECT_LE(received, heard) << "data that the peer did not send";
    CheckAnswerSize(answer_, heard, own_data);
  }

  const uint8_t mode_;
  FastRandom random_;
  Http2Client client_{{.max_streams = 10}};
  Http2Server server_{{.max_streams = 10}};
  Http2End* end_ = &client_;  // the one that is tested
  std::vector<std::unique_ptr<TestStream>> opened_;
  size_t answer_ = 0;
};

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  trunkline::test::FuzzInput input(data, size);
  const uint8_t mode = input.Byte();
  const uint8_t seed = input.Byte();
  trunkline::Run(mode, seed).Feed(trunkline::PeerBytes(mode, input));
  return 0;
}
