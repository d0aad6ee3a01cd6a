// One stream of a trunk, handed to the local server: connect, answer the proxy, carry bytes until
// both sides ended.
//
// 200 goes back only once the server has taken the connection, 503 when it has not: that is what
// makes a second try at another endpoint safe. A unix server whose accept queue is full is asked
// again until the connect time-out.
//
// Confined to its worker's loop; owned by its TrunkWorker.
#pragma once

#include <functional>
#include <string>

#include "agent/sample/service_traffic.h"
#include "common/net/socket.h"
#include "common/trunk/stream_bridge.h"

namespace trunkline {

class LocalConnection final : public StreamBridge, private Flushable {
 public:
  // Takes the object away when it is done.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnConnectionGone(LocalConnection& connection) = 0;
  };

  // References outlive the connection. `preface`: what the server gets before the client's bytes.
  LocalConnection(EventLoop& loop, const SocketAddress& target, absl::Duration connect_timeout,
                  std::string preface, ServiceTraffic& traffic, Owner& owner);

  size_t table_index = 0;  // the owner's

 private:
  void OnHeaders(int status) override;
  void OnClosed(uint32_t error_code) override;
  void OnEvents(uint32_t events) override;
  void OnDone(End end) override;
  // Has all that came with the stream's headers been handed over?
  void OnFlush() override;
  void OnLoadChanged(bool is_load) override;

  void Connect();
  void OnConnected(UniqueFd fd);
  void Adopt(UniqueFd fd);
  void Refuse();

  const SocketAddress& target_;
  const std::string preface_;
  ServiceTraffic& traffic_;
  Owner& owner_;
  const MonotonicTime deadline_;
  const MonotonicTime started_;
  UniqueFd connecting_;
  MemberTimer<LocalConnection, &LocalConnection::Connect> retry_timer_{this};
  MemberTimer<LocalConnection, &LocalConnection::Refuse> connect_timer_{this};
};

}  // namespace trunkline
