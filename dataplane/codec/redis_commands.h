// Classifies Redis commands that cannot share a connection with those of other clients, because
// they change or need its state, block it, close it, or do not have exactly one reply, or because
// the client's next command must reach the same server. Also finds those that are repeatable,
// because they only read, or write what they name (SET, not INCR), and those that the proxy answers
// itself, because their effect ends with the client's connection and no later command needs it.
//
// The classifier gets a command word by word, in pieces, and remembers at most as many bytes of a
// word as the longest known name has. Confined to its parser.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace trunkline {

class RedisCommandClassifier {
 public:
  // Begins a new command.
  void Begin() { *this = {}; }
  // Adds a piece of the current word.
  void Add(std::span<const uint8_t> piece) {
    if (reading_words_) Remember(piece);
  }
  void EndWord();

  bool dedicated() const { return dedicated_; }
  bool repeatable() const { return repeatable_; }
  // Returns true if the answer is OK and no server need know of the command.
  bool answered_ok() const { return local_ == Local::kOk || local_ == Local::kQuit; }
  bool quits() const { return local_ == Local::kQuit; }
  // Returns true if the answer is an error as from a server that does not know the subcommand.
  bool unknown_subcommand() const { return local_ == Local::kUnknown; }
  // Known from the end of the command's name on.
  bool is_auth() const { return introduces_ == Introduces::kUser; }
  bool is_hello() const { return introduces_ == Introduces::kVersion; }

 private:
  // The beginning of a command that the proxy may answer itself.
  enum class Local : uint8_t {
    kNot,
    kQuit,
    kClient,
    kInfo,
    kInfoValue,
    kName,
    kTracking,
    kOk,
    kUnknown,
  };
  enum class Introduces : uint8_t { kNothing, kUser, kVersion };

  static constexpr size_t kLongestWord = 19;  // MAINT_NOTIFICATIONS; checked against the tables

  void Remember(std::span<const uint8_t> piece);
  void EndName(std::string_view name);
  void EndArgument(std::string_view word);
  Local LocalAfter(std::string_view word) const;

  std::string_view watched_argument_;          // makes the command dedicated
  std::string_view sharing_argument_;          // as the first argument, makes it shared again
  std::array<char, kLongestWord + 1> word_{};  // upper case; a longer word matches no name
  uint8_t word_size_ = 0;
  bool at_name_ = true;
  bool reading_words_ = true;  // the name, and arguments that matter
  bool dedicated_ = false;
  bool repeatable_ = false;
  bool printable_ = true;  // the current word, without spaces
  Local local_ = Local::kNot;
  Introduces introduces_ = Introduces::kNothing;
  std::span<const std::string_view> decisive_;  // arguments that make it not repeatable
};

}  // namespace trunkline
