#include "trunkctl/render_history.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trunkctl/text_table.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

// As wide as an hour in minutes, which fits beside the other columns into 100 characters.
constexpr size_t kColumns = 60;
constexpr auto kRight = TextTable::Align::kRight;

// Unset if unknown; less than any known value.
using Value = std::optional<double>;

struct Line {
  const v1::EndpointHistory* endpoint = nullptr;
  std::vector<Value> values;  // of kColumns
};

Value If(bool known, double value) { return known ? Value(value) : std::nullopt; }

Value ValueOf(const v1::EndpointHistory::Point& point, HistoryQuantity quantity) {
  switch (quantity) {
    case HistoryQuantity::kWeight:
      return If(point.has_weight(), point.weight());
    case HistoryQuantity::kUtilization:
      return If(point.has_utilization(), point.utilization());
    case HistoryQuantity::kErrors:
      return If(point.has_error_share(), point.error_share());
    case HistoryQuantity::kWait:
      return If(point.has_wait_seconds(), point.wait_seconds());
  }
  return std::nullopt;
}

std::string Text(Value value, HistoryQuantity quantity) {
  if (!value.has_value()) return "-";
  switch (quantity) {
    case HistoryQuantity::kWeight:
      return absl::StrFormat("%.3g", *value);
    case HistoryQuantity::kUtilization:
    case HistoryQuantity::kErrors:
      return absl::StrFormat("%.1f%%", 100 * *value);
    case HistoryQuantity::kWait:
      return absl::StrFormat("%.3gms", 1000 * *value);
  }
  return "-";
}

const char* HeadingOf(HistoryQuantity quantity) {
  switch (quantity) {
    case HistoryQuantity::kWeight:
      return "WEIGHT";
    case HistoryQuantity::kUtilization:
      return "UTIL";
    case HistoryQuantity::kErrors:
      return "ERRORS";
    case HistoryQuantity::kWait:
      return "WAIT";
  }
  return "";
}

// Returns the largest of the points that share a column, so that no peak is lost.
std::vector<Value> ColumnsOf(const v1::EndpointHistory& endpoint, size_t points_per_column,
                             HistoryQuantity quantity) {
  std::vector<Value> values(kColumns);
  const auto count = static_cast<size_t>(endpoint.points_size());
  for (size_t age = 0; age < std::min(count, kColumns * points_per_column); ++age) {
    Value& column = values[kColumns - 1 - age / points_per_column];
    const auto position = static_cast<int>(count - 1 - age);
    column = std::max(column, ValueOf(endpoint.points(position), quantity));
  }
  return values;
}

// Returns the smallest and the largest known value.
std::pair<Value, Value> RangeOf(const std::vector<Value>& values) {
  Value smallest;
  Value largest;
  for (const Value& value : values) {
    if (!value.has_value()) continue;
    smallest = std::min(*value, smallest.value_or(*value));
    largest = std::max(*value, largest.value_or(*value));
  }
  return {smallest, largest};
}

std::string RenderService(const std::vector<Line>& lines, double minutes,
                          HistoryQuantity quantity) {
  double largest = 0;
  for (const Line& line : lines)
    largest = std::max(largest, RangeOf(line.values).second.value_or(0));
  TextTable rows(
      {{"ENDPOINT"},
       {HeadingOf(quantity), kRight},
       {"MIN", kRight},
       {"MAX", kRight},
       {absl::StrFormat("LAST %.0f MINUTES, FROM 0 TO %s", minutes, Text(largest, quantity))}});
  for (const Line& line : lines) {
    const auto [low, high] = RangeOf(line.values);
    const auto& points = line.endpoint->points();
    const Value now = points.empty() ? Value() : ValueOf(*points.rbegin(), quantity);
    rows.AddRow({line.endpoint->endpoint_id(), Text(now, quantity), Text(low, quantity),
                 Text(high, quantity), Bars(line.values, largest)});
  }
  return absl::StrCat("service ", lines.front().endpoint->service(), "\n", rows.Text());
}

}  // namespace

std::string Bars(const std::vector<Value>& values, double largest) {
  constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string text;
  for (const Value& value : values) {
    if (!value.has_value()) {
      text += "·";
      continue;
    }
    const double share = largest > 0 ? std::min(*value / largest, 1.0) : 0;
    text += kBars[static_cast<size_t>(std::lround(share * (std::size(kBars) - 1)))];
  }
  return text;
}

std::string RenderHistory(const v1::GetWeightHistoryResponse& history, HistoryQuantity quantity) {
  const double points_per_minute = history.step_seconds() > 0 ? 60 / history.step_seconds() : 1;
  const auto points_per_column = static_cast<size_t>(std::max(1.0, std::round(points_per_minute)));
  const double minutes =
      static_cast<double>(kColumns * points_per_column) * history.step_seconds() / 60;
  std::string text;
  std::vector<Line> lines;
  const auto finish = [&] {
    if (lines.empty()) return;
    absl::StrAppend(&text, text.empty() ? "" : "\n", RenderService(lines, minutes, quantity));
    lines.clear();
  };
  for (const v1::EndpointHistory& endpoint : history.endpoints()) {
    if (!lines.empty() && lines.front().endpoint->service() != endpoint.service()) finish();
    lines.push_back({&endpoint, ColumnsOf(endpoint, points_per_column, quantity)});
  }
  finish();
  return text.empty() ? "the controller has recorded no endpoint yet\n" : text;
}

}  // namespace trunkline
