// Which Redis commands cannot share a connection with those of other clients: they change its
// state, need state that it has, block it, end it, or have not exactly one reply.
//
// The judge hears a command word by word, in pieces, and remembers no more of a word than the
// longest name it knows. Confined to its parser.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace trunkline {

class RedisCommandClassifier {
 public:
  // A new command; what was said of the last one is forgotten.
  void Begin() { *this = {}; }
  // A piece of the word under way.
  void Hear(std::span<const uint8_t> piece) {
    if (listening_) Remember(piece);
  }
  void EndWord();

  bool dedicated() const { return dedicated_; }

 private:
  static constexpr size_t kLongestWord = 12;  // PUNSUBSCRIBE; checked against the table

  void Remember(std::span<const uint8_t> piece);

  std::string_view watched_argument_;          // makes the command a dedicated one
  std::string_view sharing_argument_;          // as the first one, makes it a shared one again
  std::array<char, kLongestWord + 1> word_{};  // in capitals; one more letter: matches nothing
  uint8_t word_size_ = 0;
  bool at_name_ = true;
  bool listening_ = true;  // to the name, and to arguments that matter
  bool dedicated_ = false;
};

}  // namespace trunkline
