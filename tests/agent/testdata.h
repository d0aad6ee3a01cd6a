// Reads the recorded files that testdata/README.md describes.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace trunkline {

inline std::string TestdataPath(const std::string& path) {
  return std::string(AGENT_TESTDATA) + "/" + path;
}

inline std::string Testdata(const std::string& path) {
  std::ifstream in(TestdataPath(path), std::ios::binary);
  EXPECT_TRUE(in.good()) << "no test data " << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The name of the container's group in the recorded trees.
inline constexpr char kContainerId[] =
    "4f1d2c7b9e8a4f0c8d6b5a493827160f4f1d2c7b9e8a4f0c8d6b5a4938271600";

}  // namespace trunkline
