// HELLO and AUTH of one Redis client: which version of RESP it chose, and whether it knows the
// service's credential.
//
// The proxy sends neither to a server as the client wrote it. It compares the credential itself,
// and asks for the server's reply to HELLO on a connection that speaks the version already, where a
// plain HELLO changes nothing.
//
// Confined to its parser. The arguments may contain a secret: never log them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trunkline {

// The credential with which the proxy opens connections to the servers of a service, and which its
// clients must know.
struct RedisCredential {
  std::string user;  // empty: the default user
  std::string password;
};

// How the proxy handles a command.
enum class RedisReaction : uint8_t {
  kForward,   // to a server, on a shared connection
  kDedicate,  // to a server, on a dedicated connection
  // The proxy answers.
  kOk,
  kNoAuth,
  kHelloNoAuth,
  kWrongPassword,
  kAuthArity,
  kAuthSyntax,
  kNoProto,
  kNoNumber,
  kHelloSyntax,
  kUnknownSubcommand,
};
// Returns the proxy's answer; empty for kForward and kDedicate.
std::string_view AnswerOf(RedisReaction reaction);

// Variants of the redis codec.
inline constexpr uint8_t kResp2 = 0;
inline constexpr uint8_t kResp3 = 1;

// The negotiated state of a client's connection.
struct RedisSession {
  uint8_t variant = kResp2;
  bool authenticated = false;
};

class RedisIntroduction {
 public:
  enum class Command : uint8_t { kAuth, kHello };

  explicit RedisIntroduction(Command command) : command_(command) {}

  // Adds a piece of the current argument.
  void Add(std::span<const uint8_t> piece);
  void EndArgument();
  // Decides about the command, after its last argument. `credential` is null if the service has
  // none: its sessions are authenticated from the beginning, and servers check what clients send.
  RedisReaction Decide(const RedisCredential* credential, RedisSession& session) const;

 private:
  struct Hello {
    const std::string* user = nullptr;
    const std::string* password = nullptr;
    bool known = true;  // the proxy knows every option, and each is whole
  };
  RedisReaction Auth(const RedisCredential* credential, RedisSession& session) const;
  RedisReaction SayHello(const RedisCredential* credential, RedisSession& session) const;
  Hello ReadOptions() const;

  const Command command_;
  bool in_bounds_ = true;                  // no argument is missing in arguments_, or cut off
  std::vector<std::string> arguments_{1};  // the last one is incomplete
};

}  // namespace trunkline
