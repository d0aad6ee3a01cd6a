#include "agent/proc/sock_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace trunkline {
namespace {

// The kernel's TCP_ESTABLISHED and TCP_LISTEN (net/tcp_states.h, not exported to programs).
constexpr uint8_t kTcpEstablished = 1;
constexpr uint8_t kTcpListen = 10;

absl::Status Truncated(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("sock_diag: ", what, " is truncated"));
}

// Loads a value that may be unaligned; the caller has checked the length.
template <typename T>
T Load(absl::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

// Returns a field of tcp_info, or zero if this kernel's shorter tcp_info lacks it.
uint64_t TcpInfoField(absl::string_view info, size_t offset) {
  if (info.size() < offset + sizeof(uint64_t)) return 0;
  return Load<uint64_t>(info.substr(offset));
}

// Calls `read(type, value)` for each attribute after the fixed part of a socket's message.
template <typename Read>
absl::Status ReadAttributes(absl::string_view payload, const Read& read) {
  constexpr size_t kFixed = NLMSG_ALIGN(sizeof(inet_diag_msg));
  absl::string_view attributes = payload.substr(std::min(payload.size(), kFixed));
  while (attributes.size() >= sizeof(rtattr)) {
    const rtattr attribute = Load<rtattr>(attributes);
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > attributes.size()) {
      return Truncated("an attribute");
    }
    read(attribute.rta_type, attributes.substr(RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0)));
    attributes.remove_prefix(std::min<size_t>(attributes.size(), RTA_ALIGN(attribute.rta_len)));
  }
  return absl::OkStatus();
}

absl::Status AddSocket(absl::string_view payload, SocketDump& dump) {
  if (payload.size() < sizeof(inet_diag_msg)) return Truncated("a socket");
  const inet_diag_msg message = Load<inet_diag_msg>(payload);
  if (message.idiag_state != kTcpEstablished) return absl::OkStatus();
  PortSockets& port = dump.ports[ntohs(message.id.idiag_sport)];
  ++port.established;
  if (port.sockets.size() >= PortSockets::kMaxSockets) return absl::OkStatus();
  SocketBytes socket;
  socket.cookie =
      (uint64_t{message.id.idiag_cookie[1]} << 32) | uint64_t{message.id.idiag_cookie[0]};
  absl::Status status = ReadAttributes(payload, [&](int type, absl::string_view info) {
    if (type != INET_DIAG_INFO) return;
    socket.sent_bytes = TcpInfoField(info, offsetof(tcp_info, tcpi_bytes_acked));
    socket.received_bytes = TcpInfoField(info, offsetof(tcp_info, tcpi_bytes_received));
  });
  if (status.ok()) port.sockets.push_back(socket);
  return status;
}

absl::Status AddListener(absl::string_view payload, std::vector<ListeningSocket>& listeners) {
  if (payload.size() < sizeof(inet_diag_msg)) return Truncated("a socket");
  const inet_diag_msg message = Load<inet_diag_msg>(payload);
  if (message.idiag_state != kTcpListen || listeners.size() >= kMaxListeners) {
    return absl::OkStatus();
  }
  ListeningSocket socket = {.inode = message.idiag_inode, .ipv6 = message.idiag_family == AF_INET6};
  std::memcpy(socket.address.data(), message.id.idiag_src, socket.ipv6 ? 16 : 4);
  absl::Status status = ReadAttributes(payload, [&](int type, absl::string_view value) {
    if (type == INET_DIAG_SKV6ONLY && !value.empty()) socket.only_ipv6 = value[0] != 0;
  });
  if (status.ok()) listeners.push_back(socket);
  return status;
}

absl::Status KernelError(absl::string_view payload) {
  if (payload.size() < sizeof(int32_t)) return Truncated("an error");
  const int32_t error = Load<int32_t>(payload);
  // 0 would be an acknowledgement, which the request does not ask for.
  if (error >= 0) return absl::InvalidArgumentError("sock_diag: an error without a number");
  return absl::ErrnoToStatus(-error, "sock_diag: the kernel refused");
}

inet_diag_bc_op Operation(uint8_t code, uint8_t yes, size_t no) {
  return {.code = code, .yes = yes, .no = static_cast<uint16_t>(no)};
}

// Builds the kernel's socket filter, a bytecode program. Each operation continues `yes` or `no`
// bytes further on. A socket that reaches exactly the end of the program is reported; one that
// jumps beyond the end is not. The operand of a comparison is the operation after it.
std::vector<inet_diag_bc_op> PortFilter(const std::vector<uint16_t>& ports) {
  constexpr size_t kOp = sizeof(inet_diag_bc_op);
  constexpr size_t kOpsPerPort = 5;
  static_assert(kMaxDumpPorts * kOpsPerPort * kOp + RTA_LENGTH(0) <= UINT16_MAX);
  // The last port needs no jump over later ports.
  const size_t end = (ports.size() * kOpsPerPort - 1) * kOp;
  std::vector<inet_diag_bc_op> filter;
  for (const uint16_t port : ports) {
    const size_t next = (filter.size() + kOpsPerPort) * kOp;  // the next port, or beyond the end
    for (const uint8_t comparison : {INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE}) {
      filter.push_back(Operation(comparison, 2 * kOp, next - filter.size() * kOp));
      filter.push_back(Operation(INET_DIAG_BC_NOP, 0, port));
    }
    const size_t here = filter.size() * kOp;
    if (here < end) filter.push_back(Operation(INET_DIAG_BC_JMP, kOp, end - here));
  }
  return filter;
}

std::string BuildRequest(uint8_t family, uint8_t state, uint8_t extension,
                         const std::vector<uint16_t>& ports, uint32_t sequence) {
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
    rtattr filter;
  } message;
  static_assert(sizeof(message) % NLMSG_ALIGNTO == 0);
  const std::vector<inet_diag_bc_op> filter = PortFilter(ports);
  const size_t filter_bytes = filter.size() * sizeof(filter[0]);
  std::memset(&message, 0, sizeof(message));
  message.header.nlmsg_len = static_cast<uint32_t>(sizeof(message) + filter_bytes);
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message.header.nlmsg_seq = sequence;
  message.request.sdiag_family = family;
  message.request.sdiag_protocol = IPPROTO_TCP;
  message.request.idiag_ext = extension;
  message.request.idiag_states = 1u << state;
  message.request.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  message.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  message.filter.rta_type = INET_DIAG_REQ_BYTECODE;
  message.filter.rta_len = static_cast<uint16_t>(RTA_LENGTH(filter_bytes));
  std::string request(reinterpret_cast<const char*>(&message), sizeof(message));
  request.append(reinterpret_cast<const char*>(filter.data()), filter_bytes);
  return request;
}

// Calls `add(payload)` for each socket of a datagram.
template <typename Add>
absl::StatusOr<bool> ParseReply(absl::string_view datagram, uint32_t sequence, const Add& add) {
  while (!datagram.empty()) {
    if (datagram.size() < sizeof(nlmsghdr)) return Truncated("a message header");
    const nlmsghdr header = Load<nlmsghdr>(datagram);
    if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > datagram.size()) {
      return Truncated("a message");
    }
    const absl::string_view payload =
        datagram.substr(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
    datagram.remove_prefix(std::min<size_t>(datagram.size(), NLMSG_ALIGN(header.nlmsg_len)));
    if (header.nlmsg_seq != sequence) continue;
    if (header.nlmsg_type == NLMSG_DONE) {
      // The errno of a dump that could not start, for lack of the tcp_diag module or of IPv6.
      const int32_t result = payload.size() < sizeof(int32_t) ? 0 : Load<int32_t>(payload);
      if (result < 0) return absl::ErrnoToStatus(-result, "sock_diag: the kernel refused");
      return true;
    }
    if (header.nlmsg_type == NLMSG_ERROR) return KernelError(payload);
    if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) continue;
    if (absl::Status status = add(payload); !status.ok()) return status;
  }
  return false;
}

}  // namespace

std::string BuildSocketDumpRequest(uint8_t family, const std::vector<uint16_t>& ports,
                                   uint32_t sequence) {
  return BuildRequest(family, kTcpEstablished, 1 << (INET_DIAG_INFO - 1), ports, sequence);
}

absl::StatusOr<bool> ParseSocketDumpReply(absl::string_view datagram, uint32_t sequence,
                                          SocketDump& dump) {
  return ParseReply(datagram, sequence,
                    [&](absl::string_view payload) { return AddSocket(payload, dump); });
}

std::string BuildListenerDumpRequest(uint8_t family, uint16_t port, uint32_t sequence) {
  return BuildRequest(family, kTcpListen, 0, {port}, sequence);
}

absl::StatusOr<bool> ParseListenerDumpReply(absl::string_view datagram, uint32_t sequence,
                                            std::vector<ListeningSocket>& listeners) {
  return ParseReply(datagram, sequence,
                    [&](absl::string_view payload) { return AddListener(payload, listeners); });
}

}  // namespace trunkline
