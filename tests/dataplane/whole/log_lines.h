// The lines of a connection log in text, for tests.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace trunkline::test {

// Values by field.
using LogLine = std::map<std::string, std::string>;

inline LogLine ParseLogLine(const std::string& text) {
  LogLine line;
  std::istringstream fields(text);
  for (std::string field; fields >> field;) {
    const size_t equals = field.find('=');
    line[field.substr(0, equals)] = field.substr(equals + 1);
  }
  return line;
}

inline std::vector<LogLine> ReadLogLines(const std::string& path) {
  std::vector<LogLine> lines;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) lines.push_back(ParseLogLine(text));
  return lines;
}

// Expects these fields, and perhaps others.
inline void ExpectFields(const LogLine& line, const LogLine& expected) {
  for (const auto& [name, value] : expected) {
    const auto found = line.find(name);
    EXPECT_EQ(found == line.end() ? "missing" : found->second, value) << name;
  }
}

inline bool HasTime(const LogLine& line, const std::string& name) {
  return line.at(name).find('.') != std::string::npos;
}

}  // namespace trunkline::test
