#include "dataplane/codec/redis_introduction.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace trunkline {
namespace {

// HELLO 3 AUTH user password SETNAME name has six arguments.
constexpr size_t kMostArguments = 8;
// Longer than any password in a file (kMaxPasswordBytes in dataplane/control/password_file.h).
constexpr size_t kMostArgumentBytes = 1024;
constexpr std::string_view kDefaultUser = "default";

// Takes as long for a wrong secret as for the right one; only its length shows. `volatile` keeps
// the compiler from ending the loop at the first difference.
bool SameSecret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = difference | static_cast<uint8_t>(a[i] ^ b[i]);
  }
  return difference == 0;
}

bool Knows(const RedisCredential& credential, std::string_view user, std::string_view password) {
  const std::string_view wanted = credential.user.empty() ? kDefaultUser : credential.user;
  const bool same_user = SameSecret(user, wanted);
  const bool same_password = SameSecret(password, credential.password);
  return same_user && same_password;
}

// Accepts the numbers that Redis accepts: no spaces, no plus sign, no leading zeros.
bool ParseVersion(const std::string& text, int64_t* version) {
  std::string_view digits = text;
  if (digits.starts_with('-')) digits.remove_prefix(1);
  const bool plain =
      text == "0" || (!digits.empty() && digits[0] != '0' &&
                      std::ranges::all_of(digits, [](char c) { return absl::ascii_isdigit(c); }));
  return plain && absl::SimpleAtoi(text, version);
}

// Redis refuses other names.
bool IsName(std::string_view name) {
  return std::ranges::all_of(name, [](char c) { return c > ' ' && c < 127; });
}

}  // namespace

std::string_view AnswerOf(RedisReaction reaction) {
  switch (reaction) {
    case RedisReaction::kForward:
    case RedisReaction::kDedicate:
      break;
    case RedisReaction::kOk:
      return "+OK\r\n";
    case RedisReaction::kNoAuth:
      return "-NOAUTH Authentication required.\r\n";
    case RedisReaction::kHelloNoAuth:
      return "-NOAUTH HELLO must be called with the client already authenticated, otherwise the "
             "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and "
             "select the RESP protocol version at the same time\r\n";
    case RedisReaction::kWrongPassword:
      return "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    case RedisReaction::kAuthArity:
      return "-ERR wrong number of arguments for 'auth' command\r\n";
    case RedisReaction::kAuthSyntax:
      return "-ERR syntax error\r\n";
    case RedisReaction::kNoProto:
      return "-NOPROTO unsupported protocol version\r\n";
    case RedisReaction::kNoNumber:
      return "-ERR Protocol version is not an integer or out of range\r\n";
    case RedisReaction::kHelloSyntax:
      return "-ERR Syntax error in HELLO option\r\n";
    case RedisReaction::kUnknownSubcommand:
      return "-ERR unknown subcommand\r\n";
  }
  return {};
}

void RedisIntroduction::Add(std::span<const uint8_t> piece) {
  std::string& argument = arguments_.back();
  const size_t room = kMostArgumentBytes - argument.size();
  in_bounds_ = in_bounds_ && piece.size() <= room;
  const size_t size = std::min(piece.size(), room);
  argument.append(piece.begin(), piece.begin() + static_cast<ptrdiff_t>(size));
}

void RedisIntroduction::EndArgument() {
  if (arguments_.size() <= kMostArguments) {
    arguments_.emplace_back();
  } else {
    in_bounds_ = false;
    arguments_.back().clear();
  }
}

RedisReaction RedisIntroduction::Decide(const RedisCredential* credential,
                                        RedisSession& session) const {
  return command_ == Command::kAuth ? Auth(credential, session) : SayHello(credential, session);
}

RedisReaction RedisIntroduction::Auth(const RedisCredential* credential,
                                      RedisSession& session) const {
  if (credential == nullptr) return RedisReaction::kDedicate;
  const size_t count = arguments_.size() - 1;
  if (count == 0) return RedisReaction::kAuthArity;
  if (count > 2) return RedisReaction::kAuthSyntax;
  const std::string_view user = count == 2 ? std::string_view(arguments_[0]) : kDefaultUser;
  if (!in_bounds_ || !Knows(*credential, user, arguments_[count - 1])) {
    return RedisReaction::kWrongPassword;
  }
  session.authenticated = true;
  return RedisReaction::kOk;
}

RedisIntroduction::Hello RedisIntroduction::ReadOptions() const {
  Hello hello = {.known = in_bounds_};
  const size_t count = arguments_.size() - 1;
  for (size_t i = 1; i < count && hello.known;) {
    if (absl::EqualsIgnoreCase(arguments_[i], "AUTH") && i + 2 < count) {
      hello.user = &arguments_[i + 1];
      hello.password = &arguments_[i + 2];
      i += 3;
    } else if (absl::EqualsIgnoreCase(arguments_[i], "SETNAME") && i + 1 < count) {
      hello.known = IsName(arguments_[i + 1]);
      i += 2;
    } else {
      hello.known = false;
    }
  }
  return hello;
}

RedisReaction RedisIntroduction::SayHello(const RedisCredential* credential,
                                          RedisSession& session) const {
  uint8_t variant = session.variant;
  if (arguments_.size() > 1) {
    int64_t version = 0;
    if (!ParseVersion(arguments_[0], &version)) return RedisReaction::kNoNumber;
    if (version != 2 && version != 3) return RedisReaction::kNoProto;
    variant = version == 2 ? kResp2 : kResp3;
  }
  const Hello hello = ReadOptions();
  // As Redis, which reads all options before it checks the credential. A client that has
  // authenticated gets the server's own answer: the server may know more options than the proxy.
  if (!hello.known && !session.authenticated) return RedisReaction::kHelloSyntax;
  if (hello.password != nullptr) {
    if (credential == nullptr) return RedisReaction::kDedicate;
    if (!Knows(*credential, *hello.user, *hello.password)) return RedisReaction::kWrongPassword;
    session.authenticated = true;
  }
  if (!session.authenticated) return RedisReaction::kHelloNoAuth;
  if (!hello.known) return RedisReaction::kDedicate;
  session.variant = variant;
  return RedisReaction::kForward;
}

}  // namespace trunkline
