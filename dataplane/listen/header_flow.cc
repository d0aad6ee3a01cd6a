#include "dataplane/listen/header_flow.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/proxy_protocol/proxy_header.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/route/service_router.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {
namespace {

constexpr uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;

}  // namespace

HeaderFlow::HeaderFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router,
                       const FlowLimits& limits, Opener& opener)
    : Flow(router, loop.now()), loop_(loop), opener_(opener), fd_(std::move(client)) {
  reserved_share_.BelongTo(&router.worker().stats.reserved_sockets);
  reserved_share_.Set(SocketsPerClient(router.set()) - 1);
  loop_.Arm(timer_, limits.first_byte_timeout);
}

// Looks before it registers, because the header often arrives with the connection. Registering
// reports bytes that came in between.
void HeaderFlow::Begin() {
  Look();
  if (done_) return;
  watched_ = loop_.Add(fd_.get(), kReadEvents, this).ok();
  if (!watched_) Finish(FlowEnd::kUnwatchable, /*with_reset=*/true);
}

void HeaderFlow::OnEvents(uint32_t events) {
  if (done_) return;
  if (events & EPOLLERR) {
    Finish(FlowEnd::kClientReset, /*with_reset=*/true);
    return;
  }
  if (events & EPOLLRDHUP) fin_seen_ = true;
  Look();
}

void HeaderFlow::Look() {
  uint8_t bytes[kMaxProxyHeaderBytes];
  ssize_t n = 0;
  do {
    n = recv(fd_.get(), bytes, sizeof bytes, MSG_PEEK);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  if (n < 0) {
    Finish(FlowEnd::kClientReset, /*with_reset=*/true);
    return;
  }
  if (n == 0) {
    if (record() != nullptr) record()->OnClosedBy(FlowSide::kClient);
    Finish(FlowEnd::kClean, /*with_reset=*/false);
    return;
  }
  const ProxyHeaderStep step = ReadProxyHeader({bytes, static_cast<size_t>(n)});
  if (step.state == ProxyHeaderState::kWhole) {
    recv(fd_.get(), bytes, step.size, 0);
    GoOn(step);
  } else if (step.state == ProxyHeaderState::kBroken || fin_seen_) {
    Finish(FlowEnd::kBadHeader, /*with_reset=*/true);
  }
}

void HeaderFlow::GoOn(const ProxyHeaderStep& header) {
  const bool named = header.addresses.source.known();
  const EndpointSet& set = router().set();
  if (record() != nullptr && named) record()->addresses = header.addresses;
  std::unique_ptr<ClientOrigin> origin;
  if (!Admit(set, named ? header.addresses : AddressesOf(fd_.get()), &origin)) {
    Finish(FlowEnd::kSourceLimit, /*with_reset=*/true);
    return;
  }
  done_ = true;
  timer_.Cancel();
  if (watched_) loop_.Remove(fd_.get());
  set_origin(std::move(origin));
  reserved_share_.Set(0);
  router().Replace(*this, opener_.NewFlow(std::move(fd_)));
}

void HeaderFlow::Finish(FlowEnd end, bool with_reset) {
  if (done_) return;
  done_ = true;
  timer_.Cancel();
  reserved_share_.Set(0);
  router().OnFlowDone(*this, end);
  // Closes last, so that a client that sees the end finds it counted.
  if (with_reset) {
    CloseWithReset(std::move(fd_));
  } else {
    fd_.Reset();
  }
}

}  // namespace trunkline
