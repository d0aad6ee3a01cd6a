// The words of one line of a scenario, taken from the front. The first mistake is kept; after it,
// every call returns a default, so that a caller checks once per line.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"

namespace trunkline::sim {

class LineWords {
 public:
  explicit LineWords(std::string_view line);

  bool empty() const { return next_ == words_.size() || failed(); }
  bool failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }
  void Fail(std::string error);
  // Returns true and takes the next word if it is `word`.
  bool Take(std::string_view word);
  std::string Word(std::string_view expected);
  // Takes one of the words and returns its index.
  size_t OneOf(std::initializer_list<std::string_view> words);
  void Expect(std::string_view word);
  // A number of at least 0, with this suffix, such as "8x".
  double Number(std::string_view expected, std::string_view suffix = "");
  int Whole(std::string_view expected);
  // "40%" is 0.4.
  double Share();
  // "250us", "20ms", "1s", "10min".
  SimTime Duration();
  Distribution RandomDuration();
  // The words that are left, with single spaces.
  std::string Rest();
  // Fails if a word is left.
  void End();

 private:
  std::string Next(std::string_view expected);

  std::vector<std::string> words_;
  size_t next_ = 0;
  std::string error_;
};

}  // namespace trunkline::sim
