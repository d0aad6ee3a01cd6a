// One stream of a trunk, handed to the local server: connects, answers the proxy and carries bytes
// until both sides ended.
//
// The proxy gets 200 only after the server accepted the connection, and 503 if it did not; that
// makes a retry at another endpoint safe. A unix server whose accept queue is full is dialed again
// until the connect timeout.
//
// Confined to its worker's loop; owned by its TrunkWorker.
#pragma once

#include <functional>
#include <string>

#include "agent/sample/service_traffic.h"
#include "common/http2/http2_server_session.h"
#include "common/net/address_list.h"
#include "common/trunk/stream_bridge.h"

namespace trunkline {

class LocalConnection final : public StreamBridge, private Flushable {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // The connection ended: retire it.
    virtual void OnConnectionGone(LocalConnection& connection, End end) = 0;
  };

  // References outlive the connection. `addresses` are the server's, tried in turn; null if none is
  // known, which refuses the stream. The server gets `preface` before the client's bytes.
  LocalConnection(EventLoop& loop, AddressList addresses, absl::Duration connect_timeout,
                  std::string preface, ServiceTraffic& traffic, Owner& owner);

  size_t table_index = 0;  // the owner's

 private:
  void OnRequest(Http2ServerSession& session) override;
  void OnClosed(uint32_t error_code) override;
  void OnEvents(uint32_t events) override;
  void OnDone(End end) override;
  // Runs when all bytes that came with the stream's headers have been handed over.
  void OnFlush() override;
  void OnLoadChanged(bool is_load) override;

  void Connect();
  void OnConnected(UniqueFd fd);
  void Adopt(UniqueFd fd);
  void OnAddressFailed();
  void KeepAlive();
  void Refuse();
  const SocketAddress& target() const { return (*addresses_)[next_address_]; }
  void OnUnwatchable();

  const AddressList addresses_;
  size_t next_address_ = 0;
  const std::string preface_;
  ServiceTraffic& traffic_;
  Owner& owner_;
  Http2ServerSession* answerer_ = nullptr;  // valid while attached()
  const MonotonicTime deadline_;
  const MonotonicTime started_;
  UniqueFd connecting_;
  bool has_keepalive_ = false;  // set when the connection is idle for the first time
  MemberTimer<LocalConnection, &LocalConnection::Connect> retry_timer_{this};
  MemberTimer<LocalConnection, &LocalConnection::OnAddressFailed> connect_timer_{this};
};

}  // namespace trunkline
