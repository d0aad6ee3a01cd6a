// A server's answer to a health check. Input: a byte that selects the check, then the answer.
//
// Invariants for any bytes: the verdict does not depend on how the answer is split into pieces; it
// comes within the size limit; a description is of bounded size and printable.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "dataplane/check/check_exchange.h"
#include "dataplane/codec/redis.h"

namespace trunkline {
namespace {

using State = CheckExchange::State;

constexpr size_t kMaxDescription = 2000;

const std::shared_ptr<const Codec> kLogin =
    NewRedisCodec({.credential = RedisCredential{.user = "", .password = "secret"}});

HealthCheck CheckOf(uint8_t selector) {
  switch (selector % 4) {
    case 0:
      return {.kind = TcpCheck{.send = "status\n", .expect = "ok\n"}};
    case 1:
      return {.kind = HttpCheck{.expected = {{200, 204}, {101, 101}, {404, 404}}}};
    case 2:
      return {.kind = RedisCheck()};
    default:
      return {.kind = RedisCheck{.login = kLogin}};
  }
}

// Returns the verdict if the answer arrives in pieces of `size` bytes.
State InPieces(CheckExchange exchange, std::string_view answer, size_t size) {
  State state = State::kMore;
  for (size_t at = 0; at < answer.size() && state == State::kMore; at += size) {
    state = exchange.OnBytes(answer.substr(at, size));
  }
  return state;
}

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  if (size < 2) return 0;
  const std::string_view answer(reinterpret_cast<const char*>(data + 1), size - 1);
  const CheckExchange exchange(CheckOf(data[0]), "", "10.0.0.1:80");
  CheckExchange whole = exchange;
  const State state = whole.OnBytes(answer);
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, answer.size() / 2 + 1}) {
    EXPECT_EQ(InPieces(exchange, answer, piece), state) << "pieces of " << piece;
  }
  EXPECT_TRUE(state != State::kMore || answer.size() < CheckExchange::kMaxReplyBytes);
  const std::string text = whole.Describe();
  EXPECT_LT(text.size(), kMaxDescription);
  EXPECT_TRUE(std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 0x7f; })) << text;
  return 0;
}
