// Where one message of a protocol ends and the next begins: all that `message` mode knows of a
// protocol.
//
// A parser is fed the bytes of one direction of one connection, in pieces as they arrive, and marks
// message boundaries in them. It looks at each byte once, holds no payload, and believes no length:
// a message that claims to be larger than the limit is refused when it claims it, not when the
// memory is gone. What a codec does not do: change a message (Request::blank and ReplyEdit are the
// exceptions), match replies to requests or decide where a request goes. So a new protocol is one
// file pair here and one line in dataplane/control/codecs.cc.
//
// Codec: immutable, thread-safe. Parsers: confined to their connection; cheap to make, for there is
// one for each client.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace trunkline {

enum class ParseState {
  kMore,    // all bytes were used and the message goes on
  kStream,  // the message goes on and cannot wait for its end: send what there is and what follows
  kEnd,     // it ended with the last byte that was used; the next Parse begins another one
  kBroken,  // no message of this protocol, or one above the limit: nothing after it can be trusted
};

struct ParseStep {
  size_t used = 0;  // bytes from the front that belong to this message
  ParseState state = ParseState::kMore;
};

// What is known of a request once Parse said kStream or kEnd.
struct Request {
  // It changes the state of its connection, blocks, or is too large to be held: the client gets a
  // connection of its own, from this request on until it leaves.
  bool dedicated = false;
  // The client asked for its connection to be closed after the reply.
  bool last = false;
  // For the parser of the reply, which may depend on what was asked. The codec's own meaning.
  uint32_t reply_hint = 0;
  // Bytes of the message that are overwritten with spaces before it is sent, so that an option that
  // concerns the client's connection does not reach the shared one. Empty: none.
  size_t blank_offset = 0;
  size_t blank_size = 0;
};

class RequestParser {
 public:
  virtual ~RequestParser() = default;
  // `bytes` follow what earlier calls used. Never uses bytes behind the end of a message. kStream
  // comes at most once in a message. After kBroken the parser is not used again.
  virtual ParseStep Parse(std::span<const uint8_t> bytes) = 0;
  // Of the message that is under way or has just ended.
  virtual Request request() const { return {}; }
};

// What is known of a reply once Parse said kEnd; `unasked` as soon as the bytes tell.
struct Reply {
  // The server closes its connection after it.
  bool last = false;
  // It answers no request (a notification); nobody on a shared connection asked for it.
  bool unasked = false;
};

// A reply tells its client that the client's connection ends with it, which the server, whose
// connection goes on, does not know: `text` takes the place of some bytes.
struct ReplyEdit {
  // How many bytes longer `text` may be than what it replaces.
  static constexpr size_t kMostGrowth = 32;
  size_t offset = 0;           // in the bytes that the last Parse used
  size_t replaced = 0;         // how many, from there on
  std::string_view text = {};  // lives as long as the program; empty: no edit
};

class ReplyParser {
 public:
  virtual ~ReplyParser() = default;
  // What is fed next is the beginning of the reply to a request that had this hint.
  virtual void Begin(uint32_t reply_hint) { static_cast<void>(reply_hint); }
  // As RequestParser::Parse; never says kStream: bytes of a reply go on as they come.
  virtual ParseStep Parse(std::span<const uint8_t> bytes) = 0;
  virtual Reply reply() const { return {}; }
  // Of what the last Parse used. At most once in a reply, and only in a client's last one.
  virtual ReplyEdit edit() const { return {}; }
  // The server's FIN here is the end of a good reply.
  virtual bool EndsAtClose() const { return false; }
};

// Why a client is sent away, for a protocol that has words for it.
enum class Refusal {
  kBroken,       // its request is none
  kUnavailable,  // no endpoint took it in time, or too many wait
  kLost,         // the server's connection broke before the reply
};

// A number in each message by which a reply names its request, big endian.
struct IdField {
  size_t offset = 0;
  size_t size = 0;  // 2, 4 or 8
};

class Codec {
 public:
  virtual ~Codec() = default;
  // As in the configuration, for example "modbus_tcp".
  virtual std::string_view name() const = 0;
  virtual std::unique_ptr<RequestParser> NewRequestParser() const = 0;
  virtual std::unique_ptr<ReplyParser> NewReplyParser() const = 0;
  // Replies carry their request's id here and may come in any order. None: they come in the order
  // of requests. Messages with an id are small: they are held whole.
  virtual std::optional<IdField> id_field() const { return std::nullopt; }
  // No request of it is ever `dedicated`: a client takes one descriptor for as long as it stays.
  virtual bool always_shares() const { return false; }
  // One request at a time on a connection: the next one only after the reply.
  virtual bool one_at_a_time() const { return false; }
  // What to tell the client before its connection is closed; empty: the close says it.
  virtual std::string_view LocalReply(Refusal why) const {
    static_cast<void>(why);
    return {};
  }
};

}  // namespace trunkline
