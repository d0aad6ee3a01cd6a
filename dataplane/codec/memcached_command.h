// Reads the command line of a memcached request and decides whether it may share a connection.
//
// A line is shared if the table in memcached_command.cc has its command and every word has the form
// that the command asks for. The table is strict on purpose: a server answers some malformed
// commands with nothing (`incr a noreply`), others with two replies (a `set` whose line is refused,
// and its data block taken for a command), and either would shift the replies of other clients.
//
// The words are kept no longer than needed. Confined to its parser.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace trunkline {

// Bound on a key, also one in base64.
constexpr size_t kMaxMemcachedKeyBytes = 250;

// The form of a reply; the words that it may begin with are in memcached_reply.cc.
enum class MemcachedReplyKind : uint8_t {
  kValues,  // VALUE lines with data blocks, then END
  kStored,
  kDeleted,
  kTouched,
  kNumber,
  kOk,
  kVersion,
  kMeta,   // of mg, ms, md and ma; VA has a data block
  kDebug,  // of me
  kNoop,   // of mn
};

// The replies that the client does not want.
enum class MemcachedQuiet : uint8_t {
  kNone,
  kAll,      // noreply
  kMiss,     // mg with q: EN
  kDone,     // ms and md with q: HD
  kCounted,  // ma with q: HD and VA
};

// All that the reply parser must know about the request; travels as a reply_hint.
struct MemcachedReplyHint {
  MemcachedReplyKind kind = MemcachedReplyKind::kValues;
  MemcachedQuiet quiet = MemcachedQuiet::kNone;
  bool has_data = false;  // the request has a data block

  uint32_t Pack() const {
    return static_cast<uint32_t>(kind) | static_cast<uint32_t>(quiet) << 8 |
           static_cast<uint32_t>(has_data) << 16;
  }
  static MemcachedReplyHint Unpack(uint32_t hint) {
    return {.kind = static_cast<MemcachedReplyKind>(hint & 0xff),
            .quiet = static_cast<MemcachedQuiet>(hint >> 8 & 0xff),
            .has_data = hint >> 16 != 0};
  }
};

class MemcachedCommand {
 public:
  // Begins a new line.
  void Begin() { *this = {}; }
  // Adds a byte of the line, without its CR and LF.
  void Add(uint8_t byte);
  // Ends the line.
  void End();

  // Returns true if the line cannot share a connection. May turn true at any byte.
  bool dedicated() const { return dedicated_; }
  void MakeDedicated() { dedicated_ = true; }

  // Returns true if memcached takes a line of any length.
  bool may_be_long() const;

  // Known after End if the line is not dedicated.
  bool quits() const;
  bool has_data() const { return hint_.has_data; }
  uint32_t data_bytes() const { return data_bytes_; }
  bool repeatable() const { return repeatable_; }
  uint32_t reply_hint() const { return hint_.Pack(); }
  // The place of `noreply` or `q` in the line; nothing if the size is 0.
  size_t blank_offset() const { return blank_offset_; }
  size_t blank_size() const { return blank_size_; }

  struct Rule;

 private:
  // The longest word whose content matters: a number of 64 bits with a flag's letter.
  static constexpr size_t kLongestWord = 24;

  void EndWord();
  void EndName(std::string_view word);
  void EndArgument(std::string_view word);
  bool IsArgument(char form, std::string_view word);
  bool IsFlag(std::string_view word);
  static uint64_t FlagBit(char letter) { return uint64_t{1} << (letter - 'A'); }
  bool HasFlag(char letter) const { return (flags_ & FlagBit(letter)) != 0; }
  bool IsFlagWithValue(char letter, std::string_view value);
  void Blank(size_t size, MemcachedQuiet quiet);

  const Rule* rule_ = nullptr;
  const char* wanted_ = "";  // forms of the arguments to come
  std::array<char, kLongestWord> word_{};
  uint32_t word_size_ = 0;  // may exceed word_
  uint32_t line_size_ = 0;
  uint32_t data_bytes_ = 0;
  uint32_t blank_offset_ = 0;
  uint64_t flags_ = 0;  // letters that were there
  uint8_t blank_size_ = 0;
  uint8_t words_ = 0;
  uint8_t padding_ = 0;  // characters = at the end of the word
  MemcachedReplyHint hint_;
  bool base64_ = true;  // the word may be base64
  bool key_is_base64_ = false;
  bool repeatable_ = false;
  bool dedicated_ = false;
};

}  // namespace trunkline
