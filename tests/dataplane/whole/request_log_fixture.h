// A proxy in message mode whose connection log has a line for each request.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dataplane/log/connection_log.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/log_lines.h"

namespace trunkline::test {

class RequestLogTest : public ExchangeTest {
 protected:
  void StartLogged(Exchange::Options options,
                   ConnectionLog::Options log = {.proxy_id = "p", .requests = true}) {
    StartLoggedWith({local_.address()}, std::move(options), std::move(log));
  }
  void StartLoggedWith(const std::vector<Address>& servers, Exchange::Options options,
                       ConnectionLog::Options log = {.proxy_id = "p", .requests = true}) {
    log_ = std::make_shared<ConnectionLog>(OpenConnectionLog(path_).value(), std::move(log));
    options.connection_log = log_;
    StartWith(servers, std::move(options));
  }
  // Only one of two servers gets requests from now on.
  void UseOnly(size_t endpoint) {
    exchange_->SetWeight(endpoint, 1);
    exchange_->SetWeight(1 - endpoint, 0);
    exchange_->Apply();
  }

  std::vector<LogLine> LinesOf(const std::string& type) {
    EXPECT_TRUE(log_->Flush());
    std::vector<LogLine> lines = ReadLogLines(path_);
    std::erase_if(lines, [&](LogLine& line) { return line["type"] != type; });
    return lines;
  }
  // Waits for as many lines of requests as given, and expects these fields in them, in this order.
  std::vector<LogLine> ExpectRequests(const std::vector<LogLine>& expected) {
    EXPECT_TRUE(Eventually([&] { return LinesOf("request").size() >= expected.size(); }));
    std::vector<LogLine> lines = LinesOf("request");
    EXPECT_EQ(lines.size(), expected.size());
    for (size_t i = 0; i < std::min(lines.size(), expected.size()); ++i) {
      SCOPED_TRACE(absl::StrCat("request ", i));
      ExpectFields(lines[i], expected[i]);
    }
    lines.resize(expected.size());
    return lines;
  }
  void ExpectGone() {
    EXPECT_TRUE(Eventually([&] { return exchange_->clients() == 0; }));
  }

  ScratchFolder folder_;
  const std::string path_ = folder_.File("connections.log");
  std::shared_ptr<ConnectionLog> log_;
};

}  // namespace trunkline::test
