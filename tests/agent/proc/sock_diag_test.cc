#include "agent/proc/sock_diag.h"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "tests/agent/testdata.h"
#include "tests/common/hex.h"

namespace trunkline {
namespace {

constexpr uint32_t kSequence = 7;

std::vector<std::string> Datagrams(const std::string& file) {
  std::vector<std::string> datagrams;
  for (absl::string_view block : absl::StrSplit(Testdata(file), "\n\n")) {
    const std::string hex = absl::StrReplaceAll(block, {{"\n", ""}});
    if (!hex.empty()) datagrams.push_back(test::BytesOfHex(hex));
  }
  return datagrams;
}

// Feeds a whole dump; its last datagram must end it.
SocketDump Parse(const std::string& file) {
  SocketDump dump;
  const std::vector<std::string> datagrams = Datagrams(file);
  for (size_t i = 0; i < datagrams.size(); ++i) {
    const auto done = ParseSocketDumpReply(datagrams[i], kSequence, dump);
    EXPECT_TRUE(done.ok()) << done.status();
    EXPECT_EQ(done.value_or(false), i + 1 == datagrams.size());
  }
  return dump;
}

// Returns the sockets of the only port of every recorded dump.
PortSockets OnlyPort(const SocketDump& dump) {
  EXPECT_LE(dump.ports.size(), 1u);
  return dump.ports.empty() ? PortSockets() : dump.ports.begin()->second;
}

TEST(SockDiagTest, Inet6DumpHasAllClientsOfADualStackListener) {
  for (const char* tree : {"linux-6.18-hybrid", "linux-6.1-v2"}) {
    EXPECT_EQ(OnlyPort(Parse(std::string(tree) + "/diag-inet6.hex")).established, 6u) << tree;
    EXPECT_EQ(OnlyPort(Parse(std::string(tree) + "/diag-inet.hex")).established, 0u) << tree;
  }
}

TEST(SockDiagTest, BytesMatchThoseOfTheClients) {
  // On 6.18: clients over IPv6 and over IPv4 each sent 100, 200, 300 bytes and got 10, 20, 30.
  uint64_t sent = 0, received = 0;
  const PortSockets port = OnlyPort(Parse("linux-6.18-hybrid/diag-inet6.hex"));
  for (const SocketBytes& socket : port.sockets) {
    sent += socket.sent_bytes;
    received += socket.received_bytes;
    EXPECT_NE(socket.cookie, 0u);
  }
  EXPECT_EQ(sent, 2u * (10 + 20 + 30));
  EXPECT_EQ(received, 2u * (100 + 200 + 300));
}

TEST(SockDiagTest, ListeningSocketsHaveInodeAddressAndFamilies) {
  std::vector<ListeningSocket> found;
  for (const char* file :
       {"linux-6.18-hybrid/listen-inet.hex", "linux-6.18-hybrid/listen-inet6.hex"}) {
    const std::vector<std::string> datagrams = Datagrams(file);
    for (size_t i = 0; i < datagrams.size(); ++i) {
      const auto done = ParseListenerDumpReply(datagrams[i], kSequence, found);
      ASSERT_TRUE(done.ok()) << done.status();
      EXPECT_EQ(*done, i + 1 == datagrams.size());
    }
  }
  struct Expected {
    uint32_t inode;
    bool ipv6;
    bool only_ipv6;
    std::array<uint8_t, 16> address;
  };
  // As fstat(2) and bind(2) of the recorded sockets; a socket on [::1] never accepts IPv4.
  const Expected expected[] = {
      {98981814, false, false, {127, 0, 0, 1}},
      {98981818, false, false, {}},
      {98981816, true, false, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 2}},
      {98981819, true, true, {}},
      {98981817, true, false, {}},
      {98981815, true, true, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
  };
  ASSERT_EQ(found.size(), std::size(expected));
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].inode, expected[i].inode) << i;
    EXPECT_EQ(found[i].ipv6, expected[i].ipv6) << i;
    EXPECT_EQ(found[i].only_ipv6, expected[i].only_ipv6) << i;
    EXPECT_EQ(found[i].address, expected[i].address) << i;
  }
}

TEST(SockDiagTest, TruncatedListenerIsAnErrorOrAWholeNumberOfSockets) {
  const std::string datagram = Datagrams("linux-6.18-hybrid/listen-inet6.hex")[0];
  nlmsghdr header;
  std::memcpy(&header, datagram.data(), sizeof(header));
  for (size_t length = 1; length < datagram.size(); ++length) {
    std::vector<ListeningSocket> found;
    const auto done = ParseListenerDumpReply(datagram.substr(0, length), kSequence, found);
    EXPECT_EQ(done.ok(), length % NLMSG_ALIGN(header.nlmsg_len) == 0) << length;
  }
}

TEST(SockDiagTest, ConnectionsAreNoListeners) {
  std::vector<ListeningSocket> found;
  ASSERT_TRUE(
      ParseListenerDumpReply(Datagrams("linux-6.18-hybrid/diag-inet6.hex")[0], kSequence, found)
          .ok());
  EXPECT_TRUE(found.empty());
}

TEST(SockDiagTest, RefusalInTheDoneMessageIsAnError) {
  SocketDump dump;
  const auto done =
      ParseSocketDumpReply(Datagrams("linux-6.1-v2/diag-refused.hex")[0], kSequence, dump);
  EXPECT_TRUE(absl::IsNotFound(done.status())) << done.status();
}

TEST(SockDiagTest, ReplyToAnotherSequenceIsSkipped) {
  SocketDump dump;
  for (const std::string& datagram : Datagrams("linux-6.18-hybrid/diag-inet6.hex")) {
    EXPECT_FALSE(*ParseSocketDumpReply(datagram, kSequence + 1, dump));
  }
  EXPECT_TRUE(dump.ports.empty());
}

TEST(SockDiagTest, TcpInfoOfAnOldKernelGivesCountsWithoutBytes) {
  // Cut each attribute to the 104 bytes that tcp_info had in Linux 3.2.
  std::string datagram = Datagrams("linux-6.18-hybrid/diag-inet6.hex")[0];
  nlmsghdr header;
  std::memcpy(&header, datagram.data(), sizeof(header));
  constexpr size_t kSocketBytes = sizeof(nlmsghdr) + 72;
  std::string one =
      datagram.substr(0, kSocketBytes) + std::string("\x6c\0\x02\0", 4) + std::string(104, '\1');
  header.nlmsg_len = static_cast<uint32_t>(one.size());
  std::memcpy(one.data(), &header, sizeof(header));
  SocketDump dump;
  ASSERT_TRUE(ParseSocketDumpReply(one, kSequence, dump).ok());
  EXPECT_EQ(OnlyPort(dump).established, 1u);
  EXPECT_EQ(OnlyPort(dump).sockets[0].sent_bytes, 0u);
}

TEST(SockDiagTest, TruncatedDatagramIsAnErrorOrAWholeNumberOfSockets) {
  const std::string datagram = Datagrams("linux-6.18-hybrid/diag-inet6.hex")[0];
  nlmsghdr header;
  std::memcpy(&header, datagram.data(), sizeof(header));
  for (size_t length = 1; length < datagram.size(); ++length) {
    SocketDump dump;
    const auto done = ParseSocketDumpReply(datagram.substr(0, length), kSequence, dump);
    EXPECT_EQ(done.ok(), length % NLMSG_ALIGN(header.nlmsg_len) == 0) << length;
  }
}

TEST(SockDiagTest, RequestNamesFamilyAndAsksForEstablishedOnly) {
  const std::string request = BuildSocketDumpRequest(AF_INET6, {0x1234}, kSequence);
  ASSERT_EQ(request.size(), 72u + 4 + 16);
  EXPECT_EQ(request.substr(0, 4), std::string("\x5c\0\0\0", 4));
  EXPECT_EQ(request[16], AF_INET6);
  // 1 << TCP_ESTABLISHED, then no port, since the filter contains the ports.
  EXPECT_EQ(request.substr(20, 6), std::string("\x02\0\0\0\0\0", 6));
}

TEST(SockDiagTest, RequestForListenersAsksForListeningOnly) {
  const std::string request = BuildListenerDumpRequest(AF_INET, 0x1234, kSequence);
  ASSERT_EQ(request.size(), 72u + 4 + 16);
  EXPECT_EQ(request[16], AF_INET);
  // 1 << TCP_LISTEN.
  EXPECT_EQ(request.substr(20, 4), std::string("\0\x04\0\0", 4));
}

}  // namespace
}  // namespace trunkline
