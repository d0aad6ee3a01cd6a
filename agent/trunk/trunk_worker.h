// One thread that terminates trunks: its loop, its listening socket, its trunks and their local
// connections.
//
// A CONNECT names a service. A service that is not configured is answered 404 and nothing is
// dialed: an agent is never an open proxy.
//
// The public calls are thread-safe: they post to the loop. If the system allows it, the thread runs
// at a niceness of 4 below the process's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "agent/trunk/load_stream.h"
#include "agent/trunk/local_connection.h"
#include "common/net/event_loop.h"
#include "common/observe/log_pacer.h"
#include "common/trunk/trunk_connection.h"

namespace trunkline {

class TrunkWorker final : private TrunkConnection::Owner,
                          private LocalConnection::Owner,
                          private LoadStream::Owner {
 public:
  struct Options {
    size_t index = 0;
    uint32_t max_streams = 1000;
    absl::Duration connect_timeout = absl::Milliseconds(1200);
    const TrunkTls* tls = nullptr;  // outlives the worker; null for plain TCP
    // Paces the lines about proxies with which TLS fails, for all workers; outlives the worker.
    PeerLogPacer* tls_log = nullptr;
  };
  struct Counters {
    TrunkCounters trunk;
    Gauge trunks;
    Counter trunks_accepted;
    Counter streams_unknown_service;
    Gauge load_streams;
    Counter inband_reports;
  };

  // Returns the addresses of a service's server, or null while none is known. Thread-safe; does not
  // block.
  using Target = std::function<AddressList()>;

  // `services`, their `targets` and `traffic` outlive the worker.
  TrunkWorker(Options options, UniqueFd listener, const std::vector<LocalService>& services,
              const std::vector<Target>& targets, TrafficTable& traffic);
  // Resets all streams and joins the thread.
  ~TrunkWorker() override;

  // Accepts no new trunks and asks peers to open no more streams. Calls `on_drained` once, on the
  // worker's thread, when the last trunk and its connections have ended.
  void Drain(std::function<void()> on_drained);

  const Counters& counters() const { return counters_; }

 private:
  class Acceptor;

  Http2Stream* OnConnect(TrunkConnection& trunk, std::string_view authority, int* status) override;
  Http2Stream* OnAskedForLoad(TrunkConnection& trunk, int* status) override;
  void OnTrunkChanged(TrunkConnection& trunk) override;
  void OnTrunkLost(TrunkConnection& trunk, const absl::Status& why) override;
  void OnConnectionGone(LocalConnection& connection, StreamBridge::End end) override;
  void OnLoadStreamGone(LoadStream& stream) override;
  void OnLoadTimer();
  LoadStream* LoadStreamOf(const TrunkConnection& trunk);
  void OnAccepted(UniqueFd fd);
  void StopAccepting();
  void NotifyIfDrained();
  void WarnOfTlsFailure(const TrunkConnection& trunk, const absl::Status& why);
  void WarnOfShortage(const absl::Status& why);

  const Options options_;
  const std::vector<LocalService>& services_;
  const std::vector<Target>& targets_;
  TrafficTable& traffic_;
  Counters counters_;
  EventLoop loop_;
  WindowBudget windows_{StreamWindow::kBudgetBytes};
  bool accepting_ = true;
  std::function<void()> on_drained_;  // null before Drain and after its call
  MonotonicTime next_shortage_warning_;
  std::unique_ptr<Acceptor> acceptor_;
  std::vector<std::unique_ptr<TrunkConnection>> trunks_;
  std::vector<std::unique_ptr<LocalConnection>> connections_;
  std::vector<std::unique_ptr<LoadStream>> load_streams_;
  MemberTimer<TrunkWorker, &TrunkWorker::OnLoadTimer> load_timer_{this};
  std::thread thread_;
};

}  // namespace trunkline
