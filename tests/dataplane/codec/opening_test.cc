// The opening of a connection: exactly one reply of the server belongs to it.
#include "dataplane/codec/opening.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis.h"
#include "dataplane/codec/redis_introduction.h"

namespace trunkline {
namespace {

using State = ConnectionOpening::State;

std::unique_ptr<ConnectionOpening> Resp3() {
  return ConnectionOpening::For(std::shared_ptr<const Codec>(NewRedisCodec({})), kResp3);
}

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(ConnectionOpeningTest, VariantWithoutOpeningHasNone) {
  EXPECT_EQ(ConnectionOpening::For(std::shared_ptr<const Codec>(NewRedisCodec({})), kResp2),
            nullptr);
  EXPECT_NE(Resp3()->bytes(), "");
}

TEST(ConnectionOpeningTest, TakesOneReplyAndNoByteBehindItHoweverItArrives) {
  const std::string reply = "%1\r\n$5\r\nproto\r\n:3\r\n";
  const std::string all = reply + "+next\r\n";
  for (size_t cut = 0; cut <= reply.size(); ++cut) {
    const auto opening = Resp3();
    size_t used = 0;
    if (cut > 0) {
      const ConnectionOpening::Step first = opening->Read(Bytes(all.substr(0, cut)));
      EXPECT_EQ(first.state, cut < reply.size() ? State::kMore : State::kAccepted) << cut;
      used = first.used;
    }
    if (cut < reply.size()) {
      const ConnectionOpening::Step rest = opening->Read(Bytes(all.substr(cut)));
      EXPECT_EQ(rest.state, State::kAccepted) << cut;
      used += rest.used;
    }
    EXPECT_EQ(used, reply.size()) << cut;
  }
}

TEST(ConnectionOpeningTest, ErrorRefusesIt) {
  const auto opening = Resp3();
  EXPECT_EQ(opening->Read(Bytes("-ERR unknown comm")).state, State::kMore);
  EXPECT_EQ(opening->Read(Bytes("and\r\n")).state, State::kLacking);
  EXPECT_EQ(opening->fault(),
            "the server refused the opening of the connection: ERR unknown command");
  opening->Restart();
  EXPECT_EQ(opening->Read(Bytes("+OK\r\n")).state, State::kAccepted) << "on another connection";
}

TEST(ConnectionOpeningTest, QuoteIsEscapedAndBounded) {
  EXPECT_EQ(QuoteForLog(Bytes("-ERR \x1b\r\n")), ", which begin with \"-ERR \\x1b\\r\\n\"");
  EXPECT_LT(QuoteForLog(Bytes(std::string(100'000, '\0'))).size(), 4 * kMostQuotedBytes + 50);
}

TEST(ConnectionOpeningTest, LongErrorIsCutForTheLog) {
  const auto opening = Resp3();
  EXPECT_EQ(opening->Read(Bytes("-ERR " + std::string(100'000, 'x') + "\r\n")).state,
            State::kRefused);
  EXPECT_LT(opening->fault().size(), 500u);
}

TEST(ConnectionOpeningTest, BytesThatAreNoReplyBreakIt) {
  const auto opening = Resp3();
  EXPECT_EQ(opening->Read(Bytes("220 ready\r\n")).state, State::kBroken);
  EXPECT_NE(opening->fault().find("is no reply of redis"), std::string::npos) << opening->fault();
  EXPECT_EQ(Resp3()->Read(Bytes(">1\r\n+news\r\n")).state, State::kBroken) << "a push";
}

}  // namespace
}  // namespace trunkline
