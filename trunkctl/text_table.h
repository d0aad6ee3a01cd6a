// Formats rows of text as aligned columns. Pure; externally synchronized.
#pragma once

#include <string>
#include <vector>

namespace trunkline {

// Returns true for the first byte of a character in UTF-8.
constexpr bool BeginsCharacter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

class TextTable {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string heading;
    Align align = Align::kLeft;
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // `cells` must have one cell per column.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  // Separates columns by two spaces and leaves no trailing spaces. Cells are UTF-8.
  std::string Text() const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace trunkline
