#include "trunkctl/render_top.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "trunkctl/render.h"
#include "trunkctl/text_table.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

constexpr auto kRight = TextTable::Align::kRight;
constexpr size_t kBarWidth = 10;

const char* NameOf(TopOrder order) {
  switch (order) {
    case TopOrder::kUtilization:
      return "utilization";
    case TopOrder::kWeight:
      return "weight";
    case TopOrder::kWait:
      return "wait";
    case TopOrder::kName:
      return "name";
  }
  return "";
}

// A bar of kBarWidth characters for 0 to 1, exact to an eighth of a character.
std::string Gauge(double share) {
  constexpr std::array<const char*, 8> kParts = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto full = static_cast<double>(kBarWidth * kParts.size());
  const auto eighths = static_cast<size_t>(std::lround(std::clamp(share, 0.0, 1.0) * full));
  std::string bar;
  for (size_t i = 0; i < eighths / kParts.size(); ++i) bar += "█";
  return bar + kParts[eighths % kParts.size()];
}

std::string Percent(bool known, double share) {
  return known ? absl::StrFormat("%.1f%%", 100 * share) : "-";
}

// Each condition that acts on the weight, in a word or two.
std::string Why(const v1::EndpointWeight& endpoint) {
  std::vector<std::string> reasons;
  if (endpoint.draining()) reasons.emplace_back("draining");
  if (endpoint.pinned()) reasons.emplace_back("pinned");
  if (endpoint.unreachable()) reasons.emplace_back("unreachable");
  if (endpoint.suspect()) reasons.emplace_back("suspect");
  if (endpoint.hot()) reasons.emplace_back("hot");
  if (endpoint.slow()) reasons.emplace_back("slow");
  if (endpoint.slow_start() > 0 && endpoint.slow_start() < 1) {
    reasons.push_back(absl::StrFormat("slow start %.0f%%", 100 * endpoint.slow_start()));
  }
  return absl::StrJoin(reasons, ", ");
}

// Sorts an endpoint with an unknown value last.
auto KeyOf(const v1::EndpointWeight& endpoint, TopOrder order) {
  double value = 0;
  bool known = true;
  switch (order) {
    case TopOrder::kUtilization:
      known = endpoint.has_utilization();
      value = endpoint.utilization();
      break;
    case TopOrder::kWeight:
      value = endpoint.weight();
      break;
    case TopOrder::kWait:
      known = endpoint.has_wait_seconds();
      value = endpoint.wait_seconds();
      break;
    case TopOrder::kName:
      break;
  }
  return std::make_tuple(!known, -value, endpoint.endpoint_id());
}

std::vector<std::string> Row(const v1::EndpointWeight& endpoint) {
  return {
      endpoint.endpoint_id(),
      Percent(endpoint.has_utilization(), endpoint.utilization()),
      endpoint.has_utilization() ? Gauge(endpoint.utilization()) : "",
      absl::StrFormat("%.3g", endpoint.weight()),
      Percent(true, endpoint.share()),
      endpoint.has_in_flight() ? absl::StrFormat("%.1f", endpoint.in_flight()) : "-",
      endpoint.has_wait_seconds() ? absl::StrFormat("%.3gms", 1000 * endpoint.wait_seconds()) : "-",
      Percent(endpoint.has_error_share(), endpoint.error_share()),
      endpoint.has_report_age_seconds() ? absl::StrFormat("%.1fs", endpoint.report_age_seconds())
                                        : "never",
      StateText(endpoint.state()),
      Why(endpoint)};
}

std::string RenderService(const v1::ServiceWeights& service, TopOrder order) {
  std::vector<const v1::EndpointWeight*> endpoints;
  for (const v1::EndpointWeight& endpoint : service.endpoints()) endpoints.push_back(&endpoint);
  std::sort(endpoints.begin(), endpoints.end(),
            [&](const auto* a, const auto* b) { return KeyOf(*a, order) < KeyOf(*b, order); });
  TextTable rows({{"ENDPOINT"},
                  {"UTIL", kRight},
                  {""},
                  {"WEIGHT", kRight},
                  {"SHARE", kRight},
                  {"IN FLIGHT", kRight},
                  {"WAIT", kRight},
                  {"ERRORS", kRight},
                  {"REPORT", kRight},
                  {"STATE"},
                  {"WHY"}});
  for (const v1::EndpointWeight* endpoint : endpoints) rows.AddRow(Row(*endpoint));
  std::string text =
      absl::StrCat("service ", service.service(), "  policy ", PolicyText(service.policy()), "  ",
                   endpoints.size(), endpoints.size() == 1 ? " endpoint\n" : " endpoints\n");
  if (!service.notice().empty()) absl::StrAppend(&text, "! ", service.notice(), "\n");
  return text + rows.Text();
}

// Cuts a line to `columns` characters.
std::string Cut(const std::string& line, size_t columns) {
  if (columns == 0) return line;
  size_t end = 0;
  for (size_t width = 0; end < line.size(); ++end) {
    if (BeginsCharacter(line[end]) && width++ == columns) break;
  }
  return line.substr(0, end);
}

}  // namespace

std::string RenderTop(const v1::WeightTable& table, const TopFrame& frame) {
  std::string text = absl::StrCat("controller ", frame.controller, "  snapshot ",
                                  Render(table.id()), "  by ", NameOf(frame.order), "\n");
  if (!frame.trouble.empty()) absl::StrAppend(&text, "! ", frame.trouble, "\n");
  for (const v1::ServiceWeights& service : table.services()) {
    absl::StrAppend(&text, "\n", RenderService(service, frame.order));
  }
  if (table.services().empty()) absl::StrAppend(&text, "no services are configured\n");
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  lines.pop_back();
  if (frame.lines > 1 && lines.size() > frame.lines) {
    const size_t hidden = lines.size() - frame.lines + 1;
    lines.resize(frame.lines - 1);
    lines.push_back(
        absl::StrCat(hidden, " more lines; name one service to see only its endpoints"));
  }
  for (std::string& line : lines) line = Cut(line, frame.columns);
  return absl::StrJoin(lines, "\n") + "\n";
}

}  // namespace trunkline
