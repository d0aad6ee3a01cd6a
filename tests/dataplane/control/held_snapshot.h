// A snapshot that a proxy holds, for tests of what follows it.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "google/protobuf/text_format.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

inline v1::Snapshot Snapshot(const std::string& text) {
  v1::Snapshot snapshot;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &snapshot)) << text;
  return snapshot;
}

inline constexpr char kHeld[] = R"(
  id { epoch: 3 version: 7 }
  services { name: "cache" mode: FORWARDING_MODE_TUNNEL listener { address: "0.0.0.0:6379" } }
  services {
    name: "db" mode: FORWARDING_MODE_TUNNEL listener { address: "0.0.0.0:5432" }
    endpoints { endpoint_id: "a" address: "10.0.0.1:7073" weight: 2 capacity: 4 }
    endpoints { endpoint_id: "b" address: "10.0.0.2:7073" weight: 1 capacity: 4 }
  })";

}  // namespace trunkline
