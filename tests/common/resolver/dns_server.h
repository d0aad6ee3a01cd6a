// A DNS server on loopback with the records that a test gives it. Thread-safe.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {

class DnsServer {
 public:
  DnsServer() : socket_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    thread_ = std::thread([this] { Run(); });
  }
  ~DnsServer() {
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    thread_.join();
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", BoundPort(socket_.get())); }

  // Answers for `name` with these IPv4 and IPv6 addresses from now on.
  void Set(const std::string& name, std::vector<std::string> addresses) {
    const std::lock_guard lock(mutex_);
    records_[name] = std::move(addresses);
    silent_.erase(name);
  }
  // Answers that there is no such name.
  void Remove(const std::string& name) {
    const std::lock_guard lock(mutex_);
    records_.erase(name);
  }
  // Does not answer queries for `name`.
  void Silence(const std::string& name) {
    const std::lock_guard lock(mutex_);
    silent_.insert(name);
  }
  // Waits for `more` queries for `name` from now on.
  [[nodiscard]] bool AwaitQueries(const std::string& name, int more) {
    std::unique_lock lock(mutex_);
    const int wanted = queries_[name] + more;
    return asked_.wait_for(lock, std::chrono::milliseconds(kPatienceMillis),
                           [&] { return queries_[name] >= wanted; });
  }

 private:
  static constexpr size_t kHeaderBytes = 12;
  static constexpr uint16_t kTypeA = 1;
  static constexpr uint16_t kTypeAaaa = 28;

  void Run() {
    std::array<char, 512> bytes;
    while (true) {
      std::array<pollfd, 2> wait = {pollfd{.fd = socket_.get(), .events = POLLIN},
                                    pollfd{.fd = stop_.get(), .events = POLLIN}};
      poll(wait.data(), wait.size(), -1);
      if (wait[1].revents != 0) return;
      sockaddr_in from{};
      socklen_t size = sizeof from;
      const ssize_t n = recvfrom(socket_.get(), bytes.data(), bytes.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &size);
      if (n <= static_cast<ssize_t>(kHeaderBytes)) continue;
      const std::string reply = ReplyTo(std::string(bytes.data(), static_cast<size_t>(n)));
      if (reply.empty()) continue;
      sendto(socket_.get(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from),
             size);
    }
  }

  // RFC 1035, section 4.1.
  std::string ReplyTo(const std::string& query) {
    std::string name;
    size_t at = kHeaderBytes;
    while (at < query.size() && query[at] != 0) {
      const auto size = static_cast<size_t>(query[at]);
      absl::StrAppend(&name, name.empty() ? "" : ".", query.substr(at + 1, size));
      at += size + 1;
    }
    if (at + 5 > query.size()) return "";
    name = absl::AsciiStrToLower(name);
    const auto type = static_cast<uint16_t>(query[at + 2]);
    const std::lock_guard lock(mutex_);
    ++queries_[name];
    asked_.notify_all();
    if (silent_.contains(name)) return "";
    const auto found = records_.find(name);
    std::string answers;
    char count = 0;
    for (const std::string& text : found != records_.end() ? found->second : None()) {
      const std::string record = Record(text, type);
      if (record.empty()) continue;
      answers += record;
      ++count;
    }
    const char code = found != records_.end() ? 0 : 3;  // 3: no such name
    std::string reply = query.substr(0, 2);
    reply += std::string({'\x81', static_cast<char>('\x80' | code), 0, 1, 0, count, 0, 0, 0, 0});
    return reply + query.substr(kHeaderBytes, at + 5 - kHeaderBytes) + answers;
  }

  // Returns the answer of type `type` with the address in `text`, empty if that is of another type.
  static std::string Record(const std::string& text, uint16_t type) {
    std::array<char, sizeof(in6_addr)> address;
    const bool is_v6 = text.find(':') != text.npos;
    if (type != (is_v6 ? kTypeAaaa : kTypeA)) return "";
    EXPECT_EQ(inet_pton(is_v6 ? AF_INET6 : AF_INET, text.c_str(), address.data()), 1) << text;
    const size_t size = is_v6 ? sizeof(in6_addr) : sizeof(in_addr);
    // The name of the question, type, class IN, a TTL of 0 and the length.
    std::string record = {'\xc0', '\x0c', 0, static_cast<char>(type), 0, 1, 0, 0,
                          0,      0,      0, static_cast<char>(size)};
    return record.append(address.data(), size);
  }
  static const std::vector<std::string>& None() {
    static const std::vector<std::string> none;
    return none;
  }

  UniqueFd socket_;
  UniqueFd stop_{eventfd(0, EFD_CLOEXEC)};
  std::mutex mutex_;
  std::condition_variable asked_;
  std::map<std::string, std::vector<std::string>> records_;  // guarded by mutex_
  std::set<std::string> silent_;                             // guarded by mutex_
  std::map<std::string, int> queries_;                       // guarded by mutex_
  std::thread thread_;
};

}  // namespace trunkline::test
