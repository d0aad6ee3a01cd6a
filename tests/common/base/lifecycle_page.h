// Reads the tables of a LIFECYCLE page and compares them with the code's.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trunkline::test {

struct PageRow {
  std::string from;
  std::string event;
  std::string to;
};

// The rows of the table below `## section` of a page of the source tree, without head and rule.
inline std::vector<PageRow> ReadTable(const std::string& page, const std::string& section) {
  std::ifstream file(std::string(TRUNKLINE_SOURCE_DIR "/") + page);
  std::vector<PageRow> rows;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("## ", 0) == 0) inside = line.substr(3) == section;
    if (!inside || line.rfind("| ", 0) != 0) continue;
    std::array<std::string, 3> cells;
    size_t at = 2;
    for (std::string& cell : cells) {
      const size_t end = line.find(" | ", at);
      if (end == std::string::npos) break;
      cell = line.substr(at, end - at);
      at = end + 3;
    }
    rows.push_back({cells[0], cells[1], cells[2]});
  }
  // The head of the table.
  if (!rows.empty()) rows.erase(rows.begin());
  EXPECT_FALSE(rows.empty()) << page << " has no table below " << section;
  return rows;
}

// One state machine: the code's table, the names that the page uses, and for each row a way to
// drive the real class through it.
template <typename State, typename Event, typename Table>
class Lifecycle {
 public:
  // States before and after the event, as the class reports them.
  using Observed = std::pair<State, State>;
  using Driver = std::function<Observed()>;

  Lifecycle(const Table& table, std::array<std::string_view, Table::kStates> states,
            std::array<std::string_view, Table::kEvents> events)
      : table_(table), states_(states), events_(events) {}

  void Add(State from, Event event, Driver driver) {
    drivers_[{Name(from), Name(event)}] = std::move(driver);
  }

  // The page has the rows of the code, no more and no fewer.
  void ExpectPageMatchesCode(const std::vector<PageRow>& page) const {
    std::map<std::pair<std::string, std::string>, std::string> code;
    for (size_t s = 0; s < Table::kStates; ++s) {
      for (size_t e = 0; e < Table::kEvents; ++e) {
        const auto state = static_cast<State>(s);
        const auto event = static_cast<Event>(e);
        if (table_.Has(state, event)) {
          code[{Name(state), Name(event)}] = Name(table_.After(state, event));
        }
      }
    }
    for (const PageRow& row : page) {
      const auto found = code.find({row.from, row.event});
      if (found == code.end()) {
        ADD_FAILURE() << "only on the page: " << row.from << " | " << row.event;
        continue;
      }
      EXPECT_EQ(found->second, row.to) << row.from << " | " << row.event;
      code.erase(found);
    }
    for (const auto& [key, to] : code) {
      ADD_FAILURE() << "not on the page: " << key.first << " | " << key.second << " | " << to;
    }
  }

  // The class follows each row of the page.
  void ExpectClassFollows(const std::vector<PageRow>& page) const {
    std::set<std::pair<std::string, std::string>> rows;
    for (const PageRow& row : page) {
      SCOPED_TRACE(row.from + " | " + row.event);
      rows.insert({row.from, row.event});
      const auto driver = drivers_.find({row.from, row.event});
      if (driver == drivers_.end()) {
        ADD_FAILURE() << "no driver for this row";
        continue;
      }
      const Observed observed = driver->second();
      EXPECT_EQ(Name(observed.first), row.from);
      EXPECT_EQ(Name(observed.second), row.to);
    }
    for (const auto& [key, driver] : drivers_) {
      EXPECT_TRUE(rows.contains(key)) << "no row: " << key.first << " | " << key.second;
    }
  }

 private:
  std::string Name(State state) const {
    return std::string(states_.at(static_cast<size_t>(state)));
  }
  std::string Name(Event event) const {
    return std::string(events_.at(static_cast<size_t>(event)));
  }

  const Table& table_;
  const std::array<std::string_view, Table::kStates> states_;
  const std::array<std::string_view, Table::kEvents> events_;
  std::map<std::pair<std::string, std::string>, Driver> drivers_;
};

}  // namespace trunkline::test
