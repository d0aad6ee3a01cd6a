#include "dataplane/codec/memcached_command.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>

namespace trunkline {

using Kind = MemcachedReplyKind;
using Quiet = MemcachedQuiet;

struct MemcachedCommand::Rule {
  std::string_view name;
  // The forms of the arguments, one letter each:
  //     k  a key                K  one or more keys
  //     u  32 bits, unsigned    i  32 bits, signed      n  64 bits, unsigned
  //     b  the size of the data block in bytes
  //     m  any number of meta flags
  //     ?  the next one may be missing
  const char* arguments;
  Kind reply;
  bool noreply = false;        // may end with this word
  bool repeatable = false;     // unless it has one of the flags in `decisive`
  Quiet quiet = Quiet::kNone;  // with the flag q
  std::string_view flags = {};
  std::string_view flags_with_value = {};
  std::string_view decisive = {};
};

namespace {

using Rule = MemcachedCommand::Rule;

// From protocol.txt of memcached 1.6, sorted by name. Flags that its later versions added are not
// here, because an older server refuses them.
constexpr Rule kShared[] = {
    {"add", "kuib", Kind::kStored, true},
    {"append", "kuib", Kind::kStored, true},
    {"cas", "kuibn", Kind::kStored, true},
    {"decr", "kn", Kind::kNumber, true},
    {"delete", "k", Kind::kDeleted, true, true},
    {"flush_all", "?i", Kind::kOk, true},
    {"gat", "iK", Kind::kValues, false, true},
    {"gats", "iK", Kind::kValues, false, true},
    {"get", "K", Kind::kValues, false, true},
    {"gets", "K", Kind::kValues, false, true},
    {"incr", "kn", Kind::kNumber, true},
    {"ma", "km", Kind::kMeta, false, false, Quiet::kCounted, "bckqtv", "CDJMNOT"},
    {"md", "km", Kind::kMeta, false, true, Quiet::kDone, "Ibkq", "COT", "CIT"},
    {"me", "km", Kind::kDebug, false, true, Quiet::kNone, "b"},
    {"mg", "km", Kind::kMeta, false, true, Quiet::kMiss, "bcfhklqstv", "NORT", "NR"},
    {"mn", "", Kind::kNoop, false, true},
    {"ms", "kbm", Kind::kMeta, false, true, Quiet::kDone, "Ibckq", "CFMNOT", "CIN"},
    {"prepend", "kuib", Kind::kStored, true},
    {"quit", "", Kind::kOk},
    {"replace", "kuib", Kind::kStored, true},
    {"set", "kuib", Kind::kStored, true, true},
    {"touch", "ki", Kind::kTouched, true, true},
    {"version", "", Kind::kVersion, false, true},
};
static_assert(std::ranges::is_sorted(kShared, {}, &Rule::name));

constexpr size_t LongestName() {
  size_t longest = 0;
  for (const Rule& rule : kShared) longest = std::max(longest, rule.name.size());
  return longest;
}

constexpr std::string_view kNoreply = "noreply";
// memcached refuses a meta command of 20 words, the data block of such an `ms` included.
constexpr size_t kMostMetaWords = 16;
// The bound of memcached.
constexpr size_t kMostOpaqueBytes = 32;
// memcached adds two bytes to the size, in an int of 32 bits.
constexpr uint64_t kMostDataBytes = std::numeric_limits<int32_t>::max() - 2;
constexpr std::string_view kModes = "AEPRSaeprs";     // of ms
constexpr std::string_view kCounterModes = "+-DIdi";  // of ma

const Rule* Find(std::string_view name) {
  const Rule* rule = std::ranges::lower_bound(kShared, name, {}, &Rule::name);
  return rule != std::end(kShared) && rule->name == name ? rule : nullptr;
}

bool Has(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

bool IsBase64(uint8_t byte) {
  return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
         (byte >= '0' && byte <= '9') || byte == '+' || byte == '/';
}

// Plain digits only, without a sign.
std::optional<uint64_t> NumberIn(std::string_view word, uint64_t most) {
  uint64_t number = 0;
  for (const char digit : word) {
    if (digit < '0' || digit > '9') return std::nullopt;
    const auto value = static_cast<uint64_t>(digit - '0');
    if (number > (most - value) / 10) return std::nullopt;
    number = number * 10 + value;
  }
  return word.empty() ? std::nullopt : std::optional(number);
}

bool IsUnsigned(std::string_view word, uint64_t most) { return NumberIn(word, most).has_value(); }
bool IsSigned(std::string_view word) {
  if (word.starts_with('-')) word.remove_prefix(1);
  return IsUnsigned(word, std::numeric_limits<int32_t>::max());
}

}  // namespace

bool MemcachedCommand::may_be_long() const {
  return rule_ != nullptr && (rule_->name == "get" || rule_->name == "gets");
}

bool MemcachedCommand::quits() const { return rule_ != nullptr && rule_->name == "quit"; }

void MemcachedCommand::Add(uint8_t byte) {
  ++line_size_;
  if (byte == ' ') {
    if (words_ == 0 && word_size_ == 0) dedicated_ = true;
    return EndWord();
  }
  constexpr uint8_t kDelete = 0x7f;
  if (byte < ' ' || byte == kDelete) dedicated_ = true;
  if (word_size_ < word_.size()) word_[word_size_] = static_cast<char>(byte);
  if (word_size_++ == 0) {
    base64_ = true;
    padding_ = 0;
  }
  if (byte == '=') {
    ++padding_;
    base64_ = base64_ && padding_ <= 2;
  } else {
    base64_ = base64_ && padding_ == 0 && IsBase64(byte);
  }
  if (rule_ == nullptr && word_size_ > LongestName()) dedicated_ = true;
}

void MemcachedCommand::End() {
  ++line_size_;  // as if a space ended the last word
  EndWord();
  if (rule_ == nullptr) dedicated_ = true;
  if (dedicated_) return;
  const char next = *wanted_;
  const bool complete = next == '\0' || next == '?' || next == 'm' || next == '*';
  const bool wrong_key = HasFlag('b') && !key_is_base64_;
  // memcached hides the new value of a counter, but not that of a counter which it has just made.
  const bool unclear = hint_.quiet == Quiet::kCounted && HasFlag('N');
  if (!complete || wrong_key || unclear) dedicated_ = true;
}

// Several spaces separate words as one does.
void MemcachedCommand::EndWord() {
  if (word_size_ == 0) return;
  const std::string_view word(word_.data(), std::min<size_t>(word_size_, word_.size()));
  if (words_ < std::numeric_limits<uint8_t>::max()) ++words_;
  if (dedicated_) {
    // The rest of the line does not matter.
  } else if (rule_ == nullptr) {
    EndName(word);
  } else {
    EndArgument(word);
  }
  word_size_ = 0;
}

void MemcachedCommand::EndName(std::string_view word) {
  rule_ = Find(word);
  if (rule_ == nullptr) {
    dedicated_ = true;
    return;
  }
  wanted_ = rule_->arguments;
  repeatable_ = rule_->repeatable;
  hint_.kind = rule_->reply;
}

void MemcachedCommand::EndArgument(std::string_view word) {
  const bool may_end = *wanted_ == '\0' || *wanted_ == '?';
  if (rule_->noreply && may_end && word == kNoreply && blank_size_ == 0) {
    wanted_ = "";
    return Blank(kNoreply.size(), Quiet::kAll);
  }
  if (*wanted_ == '?') ++wanted_;
  const char form = *wanted_;
  const bool repeats = form == 'm' || form == '*';
  if (!repeats && form != '\0') ++wanted_;
  if (form == 'K') wanted_ = "*";  // more keys
  if (!IsArgument(form, word)) dedicated_ = true;
}

bool MemcachedCommand::IsArgument(char form, std::string_view word) {
  const bool is_whole = word_size_ <= word_.size();
  switch (form) {
    case 'k':
      key_is_base64_ = base64_ && word_size_ % 4 == 0;
      [[fallthrough]];
    case 'K':
    case '*':
      return word_size_ <= kMaxMemcachedKeyBytes;
    case 'u':
      return is_whole && IsUnsigned(word, std::numeric_limits<uint32_t>::max());
    case 'i':
      return is_whole && IsSigned(word);
    case 'n':
      return is_whole && IsUnsigned(word, std::numeric_limits<uint64_t>::max());
    case 'b': {
      const std::optional<uint64_t> bytes =
          is_whole ? NumberIn(word, kMostDataBytes) : std::nullopt;
      hint_.has_data = true;
      data_bytes_ = static_cast<uint32_t>(bytes.value_or(0));
      return bytes.has_value();
    }
    case 'm':
      return words_ <= kMostMetaWords && IsFlag(word);
    default:
      return false;
  }
}

// memcached refuses a flag that it does not know, and one that is there twice.
bool MemcachedCommand::IsFlag(std::string_view word) {
  const char letter = word[0];
  const std::string_view value = word.substr(1);
  const bool plain = Has(rule_->flags, letter) && value.empty();
  const bool valued = Has(rule_->flags_with_value, letter) && IsFlagWithValue(letter, value);
  if (!plain && !valued) return false;
  if (HasFlag(letter)) return false;
  flags_ |= FlagBit(letter);
  if (letter == 'q') Blank(1, rule_->quiet);
  const bool other_mode = letter == 'M' && value != "S" && value != "s";
  if (other_mode || Has(rule_->decisive, letter)) repeatable_ = false;
  return true;
}

bool MemcachedCommand::IsFlagWithValue(char letter, std::string_view value) {
  if (letter == 'O') return word_size_ > 1 && word_size_ <= kMostOpaqueBytes;
  if (word_size_ > word_.size()) return false;
  switch (letter) {
    case 'M':
      return value.size() == 1 && Has(rule_->name == "ms" ? kModes : kCounterModes, value[0]);
    case 'C':
    case 'D':
    case 'J':
      return IsUnsigned(value, std::numeric_limits<uint64_t>::max());
    case 'F':
      return IsUnsigned(value, std::numeric_limits<uint32_t>::max());
    default:
      return IsSigned(value);
  }
}

// The word that has just ended, in front of the byte that ended it.
void MemcachedCommand::Blank(size_t size, MemcachedQuiet quiet) {
  blank_offset_ = static_cast<uint32_t>(line_size_ - 1 - size);
  blank_size_ = static_cast<uint8_t>(size);
  hint_.quiet = quiet;
}

}  // namespace trunkline
