#include "trunkctl/text_table.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace trunkline {
namespace {

constexpr size_t kGap = 2;

size_t WidthOf(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), BeginsCharacter));
}

void AppendCell(const std::string& cell, size_t width, TextTable::Align align, std::string* line) {
  const std::string fill(width - WidthOf(cell), ' ');
  *line += align == TextTable::Align::kRight ? fill + cell : cell + fill;
  line->append(kGap, ' ');
}

}  // namespace

std::string TextTable::Text() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = WidthOf(columns_[i].heading);
    for (const auto& row : rows_) width = std::max(width, WidthOf(row[i]));
    widths.push_back(width);
  }
  const auto line_of = [&](const auto& cell_at) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      AppendCell(cell_at(i), widths[i], columns_[i].align, &line);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
  };
  std::string text = line_of([&](size_t i) { return columns_[i].heading; });
  for (const auto& row : rows_) text += line_of([&](size_t i) { return row[i]; });
  return text;
}

}  // namespace trunkline
