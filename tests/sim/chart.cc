#include "tests/sim/chart.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/base/absl_view.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/measures.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

constexpr double kWidth = 860, kLeft = 60, kPlotWidth = 680;
constexpr double kPlotHeight = 150, kPanelHeight = 200, kTop = 60;

constexpr std::array<const char*, kMaxDrawn> kColours = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd",
                                                         "#ff7f0e", "#17becf", "#8c564b", "#e377c2",
                                                         "#7f7f7f", "#bcbd22"};

std::string Escape(std::string_view text) {
  return absl::StrReplaceAll(AbslView(text), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

// One panel with its axis; lines are added in the order of the colours.
class Panel {
 public:
  Panel(std::string_view title, int number, size_t seconds, double highest, std::string_view unit)
      : top_(kTop + number * kPanelHeight), seconds_(seconds), highest_(highest) {
    constexpr int kTicks = 4;
    text_ = absl::StrFormat(
        "<text x='%g' y='%g' font-weight='bold'>%s</text>\n"
        "<rect x='%g' y='%g' width='%g' height='%g' fill='none' stroke='#999'/>\n",
        kLeft, top_ - 8, Escape(title), kLeft, top_, kPlotWidth, kPlotHeight);
    for (int i = 0; i <= kTicks; ++i) {
      const double value = highest * i / kTicks;
      absl::StrAppendFormat(&text_, "<text x='%g' y='%g' text-anchor='end'>%.3g%s</text>\n",
                            kLeft - 6, Y(value) + 4, value, Escape(unit));
      const double second = static_cast<double>(seconds) * i / kTicks;
      absl::StrAppendFormat(&text_, "<text x='%g' y='%g' text-anchor='middle'>%.0f s</text>\n",
                            X(second), top_ + kPlotHeight + 14, second);
    }
  }

  void AddLine(const std::vector<double>& values, const char* colour) {
    absl::StrAppend(&text_, "<polyline fill='none' stroke='", colour, "' points='");
    for (size_t i = 0; i < values.size(); ++i) {
      absl::StrAppendFormat(&text_, "%.1f,%.1f ", X(static_cast<double>(i)),
                            Y(std::min(values[i], highest_)));
    }
    text_ += "'/>\n";
  }
  void AddMark(double second) {
    absl::StrAppendFormat(&text_,
                          "<line x1='%.1f' x2='%.1f' y1='%g' y2='%g' stroke='#bbb' "
                          "stroke-dasharray='3'/>\n",
                          X(second), X(second), top_, top_ + kPlotHeight);
  }
  const std::string& text() const { return text_; }

 private:
  double X(double second) const {
    return kLeft + kPlotWidth * second / std::max<double>(1, static_cast<double>(seconds_));
  }
  double Y(double value) const { return top_ + kPlotHeight * (1 - value / highest_); }

  const double top_;
  const size_t seconds_;
  const double highest_;
  std::string text_;
};

double Highest(const std::vector<double>& values, double least) {
  double highest = least;
  for (const double value : values) highest = std::max(highest, value);
  return highest;
}

}  // namespace

std::string DrawRun(const Scenario& scenario, std::string_view rule, const RunResult& result) {
  const size_t drawn = std::min(kMaxDrawn, result.seconds.size());
  const size_t seconds = result.p99_by_second.size();
  std::vector<std::vector<double>> utilizations(drawn), shares(drawn);
  double highest_share = 0.1;
  for (size_t i = 0; i < drawn; ++i) {
    for (const ServerSecond& second : result.seconds[i]) {
      utilizations[i].push_back(second.utilization);
      shares[i].push_back(second.share);
    }
    highest_share = Highest(shares[i], highest_share);
  }
  std::vector<double> p99_ms;
  for (const double p99 : result.p99_by_second) p99_ms.push_back(1000 * p99);

  Panel utilization("utilization", 0, seconds, 1, "");
  Panel share("share of the weight", 1, seconds, highest_share, "");
  Panel latency("p99 of each second", 2, seconds, Highest(p99_ms, 10), " ms");
  std::string legend;
  for (size_t i = 0; i < drawn; ++i) {
    utilization.AddLine(utilizations[i], kColours.at(i));
    share.AddLine(shares[i], kColours.at(i));
    absl::StrAppendFormat(&legend, "<text x='%g' y='%g' fill='%s'>%s</text>\n",
                          kLeft + kPlotWidth + 12, kTop + 14 + 16 * static_cast<double>(i),
                          kColours.at(i), Escape(scenario.servers[i].name));
  }
  latency.AddLine(p99_ms, "#000");
  for (const Action& action : scenario.actions) {
    for (Panel* panel : {&utilization, &share, &latency}) panel->AddMark(Seconds(action.at));
  }
  return absl::StrFormat(
      "<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' font-family='sans-serif' "
      "font-size='11'>\n<rect width='100%%' height='100%%' fill='#fff'/>\n"
      "<text x='%g' y='24' font-size='14'>%s, %s: %s</text>\n%s%s%s%s</svg>\n",
      kWidth, kTop + 3 * kPanelHeight, kLeft, Escape(scenario.name), Escape(rule),
      Escape(scenario.purpose), utilization.text(), share.text(), latency.text(), legend);
}

}  // namespace trunkline::sim
