#include "tests/sim/line_words.h"

#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/absl_view.h"
#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"

namespace trunkline::sim {

LineWords::LineWords(std::string_view line) {
  const std::string_view code = line.substr(0, line.find('#'));
  for (const absl::string_view word :
       absl::StrSplit(AbslView(code), absl::ByAnyChar(" \t\r"), absl::SkipEmpty())) {
    words_.emplace_back(word);
  }
}

void LineWords::Fail(std::string error) {
  if (error_.empty()) error_ = std::move(error);
}

bool LineWords::Take(std::string_view word) {
  if (empty() || words_[next_] != word) return false;
  ++next_;
  return true;
}

std::string LineWords::Next(std::string_view expected) {
  if (failed()) return "";
  if (next_ == words_.size()) {
    Fail(absl::StrCat("the line ends where ", AbslView(expected), " is expected"));
    return "";
  }
  return words_[next_++];
}

std::string LineWords::Word(std::string_view expected) { return Next(expected); }

size_t LineWords::OneOf(std::initializer_list<std::string_view> words) {
  std::vector<std::string> names;
  for (const std::string_view word : words) names.emplace_back(word);
  const std::string list = absl::StrJoin(names, ", ");
  const std::string word = Next(absl::StrCat("one of ", list));
  if (failed()) return 0;
  for (size_t i = 0; i < names.size(); ++i) {
    if (word == names[i]) return i;
  }
  Fail(absl::StrCat("\"", word, "\" is none of ", list));
  return 0;
}

void LineWords::Expect(std::string_view word) {
  const std::string next = Next(absl::StrCat("\"", AbslView(word), "\""));
  if (!failed() && next != word) {
    Fail(absl::StrCat("\"", next, "\" stands where \"", AbslView(word), "\" is expected"));
  }
}

double LineWords::Number(std::string_view expected, std::string_view suffix) {
  const std::string word = Next(expected);
  if (failed()) return 0;
  absl::string_view digits = word;
  double value = 0;
  const bool ends = absl::ConsumeSuffix(&digits, AbslView(suffix));
  if (!ends || !absl::SimpleAtod(digits, &value) || !std::isfinite(value) || value < 0) {
    Fail(absl::StrCat("\"", word, "\" stands where ", AbslView(expected), " is expected"));
    return 0;
  }
  return value;
}

int LineWords::Whole(std::string_view expected) {
  constexpr double kMax = 1e6;
  const double value = Number(expected);
  if (!failed() && (value != std::floor(value) || value > kMax)) {
    Fail(absl::StrCat(value, " stands where ", AbslView(expected), " is expected"));
  }
  return failed() ? 0 : static_cast<int>(value);
}

double LineWords::Share() { return Number("a share such as 40%", "%") / 100; }

SimTime LineWords::Duration() {
  constexpr struct {
    absl::string_view suffix;
    double seconds;
  } kUnits[] = {{"us", 1e-6}, {"ms", 1e-3}, {"min", 60}, {"s", 1}};
  const std::string word = Next("a duration such as 20ms");
  if (failed()) return 0;
  for (const auto& unit : kUnits) {
    absl::string_view digits = word;
    double value = 0;
    if (!absl::ConsumeSuffix(&digits, unit.suffix)) continue;
    if (!absl::SimpleAtod(digits, &value) || !std::isfinite(value) || value < 0) break;
    return FromSeconds(value * unit.seconds);
  }
  Fail(absl::StrCat("\"", word, "\" stands where a duration such as 250us, 20ms, 1s or 10min is ",
                    "expected"));
  return 0;
}

Distribution LineWords::RandomDuration() {
  Distribution result;
  result.shape = OneOf({"constant", "exponential"}) == 0 ? Distribution::Shape::kConstant
                                                         : Distribution::Shape::kExponential;
  result.mean = Seconds(Duration());
  if (Take("tail")) {
    result.tail_share = Share();
    result.tail_mean = Seconds(Duration());
  }
  return result;
}

std::string LineWords::Rest() {
  std::string rest;
  while (!empty()) absl::StrAppend(&rest, rest.empty() ? "" : " ", words_[next_++]);
  return rest;
}

void LineWords::End() {
  if (!empty()) Fail(absl::StrCat("nothing is expected after here: \"", words_[next_], "\""));
}

}  // namespace trunkline::sim
