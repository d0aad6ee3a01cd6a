// Input: seed of the pieces (1 byte), then the bytes to feed, as requests and as replies. An odd
// seed selects a small limit; the seed modulo 3 selects the request that the reply answers. Also
// checks that the request is otherwise unchanged after its "close" is blanked, and the reply after
// a "close" is inserted.
#include "dataplane/codec/http1.h"
#include "dataplane/codec/http1_reply.h"
#include "dataplane/codec/http1_request.h"
#include "tests/dataplane/codec/found.h"
#include "tests/fuzz/codec_checks.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using trunkline::Codec;
using trunkline::ParseState;
using trunkline::test::EditedReply;
using trunkline::test::FindReplies;
using trunkline::test::FindRequests;
using trunkline::test::FoundReply;
using trunkline::test::FoundRequest;
using trunkline::test::RandomPieces;

// The part of a hint that describes the request, not the fate of its connection.
constexpr uint32_t kAsked = trunkline::kHttp1ReplyToHead | trunkline::kHttp1ReplyToConnect;

FoundReply FirstReply(const Codec& codec, const std::string& text, uint32_t hint) {
  const std::vector<FoundReply> found = FindReplies(codec, text, {hint});
  return found.empty() ? FoundReply() : found.front();
}

std::string Blanked(std::string text, const std::vector<FoundRequest>& found) {
  size_t start = 0;
  for (const FoundRequest& each : found) {
    const trunkline::Request& request = each.request;
    EXPECT_LE(request.blank_offset + request.blank_size, each.size);
    text.replace(start + request.blank_offset, request.blank_size, request.blank_size, ' ');
    start += each.size;
  }
  return text;
}

void CheckBlanks(const Codec& codec, const std::string& text) {
  const std::vector<FoundRequest> found = FindRequests(codec, text);
  const std::vector<FoundRequest> again = FindRequests(codec, Blanked(text, found));
  EXPECT_EQ(again.size(), found.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(again[i].size, found[i].size);
    EXPECT_EQ(again[i].state, found[i].state);
    EXPECT_EQ(again[i].streamed_at, found[i].streamed_at);
    EXPECT_EQ(again[i].request.dedicated, found[i].request.dedicated);
    EXPECT_EQ(again[i].request.reply_hint & kAsked, found[i].request.reply_hint & kAsked);
  }
}

void CheckCloseIsTold(const Codec& codec, const std::string& text, uint8_t seed, uint32_t hint) {
  const FoundReply plain = FirstReply(codec, text, hint);
  // The edit may lift a head above its bound.
  if (text.size() > trunkline::kMaxHttp1ReplyHeadBytes / 2) return;
  if (plain.state != ParseState::kEnd && !plain.ends_at_close) return;
  trunkline::FastRandom random(seed);
  const std::string heard =
      EditedReply(codec, RandomPieces(text, random), hint | trunkline::kHttp1ReplyThenClose);
  const FoundReply told = FirstReply(codec, heard, hint);
  EXPECT_EQ(told.state, plain.state);
  EXPECT_EQ(told.size, heard.size());
  EXPECT_EQ(told.ends_at_close, plain.ends_at_close);
  EXPECT_TRUE(told.reply.last);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  static const std::unique_ptr<Codec> usual = NewHttp1Codec({});
  static const std::unique_ptr<Codec> small = NewHttp1Codec({.max_request_bytes = 64});
  test::FuzzInput input(data, size);
  const uint8_t seed = input.Byte();
  const std::string text = input.TakeRest();
  const Codec& codec = seed % 2 == 0 ? *usual : *small;
  // Content above the limit is streamed, so the size of a message is unbounded.
  test::CheckRequests(codec, text, seed, SIZE_MAX);
  CheckBlanks(codec, text);
  const uint32_t hint = seed % 3;
  test::CheckReplies(*usual, text, seed, SIZE_MAX, {hint, hint, hint});
  CheckCloseIsTold(*usual, text, seed, hint);
  return 0;
}
