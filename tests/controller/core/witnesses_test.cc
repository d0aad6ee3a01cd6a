// Closes the loop between ControlCore and servers with queues, in virtual time: agents say how busy
// a server is, proxies say how long it takes. One of the agents is wrong, or its server is busy
// with something that is not CPU. Deterministic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"
#include "controller/core/snapshot_publisher.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

// A server with one queue: M/M/1 while it keeps up, and a backlog that grows while it does not.
struct QueueServer {
  std::string id;
  double capacity;  // requests per second
  // Makes its agent's report from the true one and the requests in flight.
  std::function<ReportedLoad(ReportedLoad truth, double in_flight)> tell =
      [](ReportedLoad truth, double) { return truth; };

  double distance = 0;    // seconds that clients wait anyway
  bool hangs_up = false;  // it ends each flow at once, without an answer

  double backlog = 0;
  double arrivals = 0;
  double served = 0;

  double utilization() const { return std::min(1.0, served / capacity); }
  double wait() const {
    const double busy = std::min(0.98, arrivals / capacity);
    return distance + 1 / capacity / (1 - busy) + backlog / capacity;
  }
  double in_flight() const { return served * wait(); }
};

class QueueCluster {
 public:
  QueueCluster(std::vector<QueueServer> servers, bool proxies_report)
      : servers_(std::move(servers)), proxies_report_(proxies_report) {
    ControlCore::Options options;
    options.services = {Service("db")};
    options.first = {1, 1};
    core_ = std::make_unique<ControlCore>(options, At(0));
    AgentSession session = 0;
    for (const QueueServer& server : servers_) {
      EXPECT_TRUE(core_->registry().Announce(++session, Agent(server.id), At(0)).ok());
    }
    core_->Tick(At(0));
  }

  // Runs with this many requests per second; `each_second` is called after every second.
  void Run(
      double arrivals, int seconds, const std::function<void()>& each_second = [] {}) {
    constexpr int kStepsPerSecond = 20;
    for (int step = 1; step <= seconds * kStepsPerSecond; ++step) {
      now_ += 1.0 / kStepsPerSecond;
      for (QueueServer& server : servers_) Serve(server, arrivals, 1.0 / kStepsPerSecond);
      if (step % kStepsPerSecond == 6) ReportAgents();
      if (step % kStepsPerSecond == 13) ReportProxies();
      if (step % (kStepsPerSecond / 2) == 0) core_->Tick(At(now_));
      if (step % kStepsPerSecond == 0) each_second();
    }
  }

  // From now on, waits are measured with this relative error, and utilizations with 2 %.
  void AddNoise(double of_waits, unsigned seed) {
    noise_ = of_waits;
    random_.seed(seed);
  }

  QueueServer& server(size_t i) { return servers_[i]; }
  double Share(const std::string& id) const {
    double sum = 0, own = 0;
    for (const SnapshotEndpoint& endpoint : core_->publisher().current()->services[0]->endpoints) {
      sum += endpoint.weight;
      if (endpoint.endpoint_id == id) own = endpoint.weight;
    }
    return own / sum;
  }

 private:
  void Serve(QueueServer& server, double arrivals, double dt) {
    server.arrivals = arrivals * Share(server.id);
    const double wanted = server.arrivals + server.backlog / dt;
    server.served = std::min(wanted, server.capacity);
    server.backlog = (wanted - server.served) * dt;
  }
  void ReportAgents() {
    ++seq_;
    AgentSession session = 0;
    for (const QueueServer& server : servers_) {
      const double utilization = std::min(1.0, Noisy(server.utilization(), noise_ > 0 ? 0.02 : 0));
      const ReportedLoad truth = Load(server.id, utilization, server.served);
      EXPECT_TRUE(core_->registry()
                      .Report(++session, seq_, {server.tell(truth, server.in_flight())}, At(now_))
                      .ok());
    }
  }
  void ReportProxies() {
    if (!proxies_report_) return;
    ProxyTraffic traffic = {.seconds = 1};
    for (const QueueServer& server : servers_) {
      ProxyTraffic::Endpoint endpoint = {.key = {"db", server.id}};
      const auto ended = static_cast<uint64_t>(std::lround(server.served));
      (server.hangs_up ? endpoint.unanswered : endpoint.served) = ended;
      if (!server.hangs_up) {
        endpoint.load = static_cast<uint32_t>(std::lround(server.in_flight()));
        endpoint.first_byte = absl::Seconds(Noisy(server.wait(), noise_));
      }
      traffic.endpoints.push_back(endpoint);
    }
    core_->traffic().Add(traffic, At(now_));
  }

  double Noisy(double value, double error) {
    return value * std::exp(std::normal_distribution<double>(0, error)(random_));
  }

  std::vector<QueueServer> servers_;
  const bool proxies_report_;
  double noise_ = 0;
  std::mt19937 random_;
  std::unique_ptr<ControlCore> core_;
  double now_ = 0;
  uint64_t seq_ = 0;
};

std::vector<QueueServer> FourEqual() {
  return {{"a", 1000}, {"b", 1000}, {"c", 1000}, {"d", 1000}};
}
ReportedLoad Idle(ReportedLoad truth, double) {
  truth.cpu_utilization = 0;
  return truth;
}
// Sockets that happen to be open at a sample: a backlog looks like work.
ReportedLoad SocketsAsWork(ReportedLoad truth, double in_flight) {
  truth.successes_per_second = in_flight;
  return truth;
}

// Returns the largest share that any server had after the first half of the run.
double LargestShare(QueueCluster& cluster, double arrivals, int seconds) {
  cluster.Run(arrivals, seconds / 2);
  double largest = 0;
  cluster.Run(arrivals, seconds / 2, [&] {
    for (const char* id : {"a", "b", "c", "d"}) largest = std::max(largest, cluster.Share(id));
  });
  return largest;
}

// An agent that reads the control group of another, idle program.
TEST(WitnessesTest, AgentThatSeesNoCpuDoesNotDrawTheTraffic) {
  for (const double load : {0.5, 0.7, 0.85}) {
    std::vector<QueueServer> servers = FourEqual();
    servers[0].tell = Idle;
    QueueCluster cluster(servers, /*proxies_report=*/true);
    EXPECT_LE(LargestShare(cluster, load * 4000, 1800), 0.35) << "load " << load;
    QueueCluster agents_alone(servers, /*proxies_report=*/false);
    EXPECT_GT(LargestShare(agents_alone, load * 4000, 300), 0.5)
        << "the scene must be one in which agents alone fail";
  }
}

// Waits of single seconds say little about which server is faster: under a quota they vary by half.
TEST(WitnessesTest, WrongAgentGainsNothingFromNoisyWaits) {
  for (const unsigned seed : {1u, 2u, 3u, 4u, 5u}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::vector<QueueServer> servers = FourEqual();
    servers[0].tell = Idle;
    QueueCluster cluster(servers, /*proxies_report=*/true);
    cluster.AddNoise(0.5, seed);
    cluster.Run(2800, 300);
    double sum = 0;
    int seconds = 0;
    cluster.Run(2800, 1200, [&] {
      sum += cluster.Share("a");
      ++seconds;
    });
    EXPECT_LT(sum / seconds, 0.265);
  }
}

// The other servers get so little that their waits cannot be measured once it has drawn the
// traffic.
TEST(WitnessesTest, AgentThatSeesNoCpuDoesNotDrawAFewRequests) {
  std::vector<QueueServer> servers = {{"a", 20}, {"b", 20}, {"c", 20}, {"d", 20}};
  servers[0].tell = Idle;
  QueueCluster cluster(servers, /*proxies_report=*/true);
  EXPECT_LE(LargestShare(cluster, 30, 1800), 0.35);
}

TEST(WitnessesTest, BacklogThatLooksLikeWorkDoesNotDrawTheTraffic) {
  std::vector<QueueServer> servers = {{"a", 4000}, {"b", 2000}, {"c", 1000}, {"d", 1000}};
  for (QueueServer& server : servers) server.tell = SocketsAsWork;
  QueueCluster cluster(servers, /*proxies_report=*/true);
  cluster.Run(0.85 * 8000, 300);
  EXPECT_NEAR(cluster.Share("a"), 0.5, 0.05);
  EXPECT_NEAR(cluster.Share("d"), 0.125, 0.02);
}

// A server that waits for its disk: it uses no CPU and serves 33 requests per second.
TEST(WitnessesTest, ServerThatWaitsWithoutCpuIsNotDrowned) {
  std::vector<QueueServer> servers = FourEqual();
  servers[3].capacity = 100;
  servers[3].tell = Idle;
  QueueCluster cluster(servers, /*proxies_report=*/true);
  cluster.Run(1000, 120);
  int seconds = 0, drowned = 0;
  cluster.Run(1000, 1800, [&] {
    ++seconds;
    if (cluster.server(3).backlog > 20) ++drowned;
  });
  EXPECT_LT(drowned, seconds / 50);
  EXPECT_GT(cluster.Share("d"), 0.02) << "it serves what it can";
}

// It looks idle, fast and successful, and its clients get nothing.
TEST(WitnessesTest, ServerThatHangsUpWithoutAnAnswerLosesItsShare) {
  std::vector<QueueServer> servers = FourEqual();
  QueueCluster cluster(servers, /*proxies_report=*/true);
  cluster.Run(2000, 60);
  cluster.server(2).hangs_up = true;
  cluster.server(2).capacity = 100'000;
  cluster.Run(2000, 15);
  EXPECT_LT(cluster.Share("c"), 0.03);
  cluster.server(2).hangs_up = false;
  cluster.server(2).capacity = 1000;
  cluster.Run(2000, 120);
  EXPECT_NEAR(cluster.Share("c"), 0.25, 0.05) << "it is well again";
}

// The rest of the rules must not get in the way of what agents rightly say.
TEST(WitnessesTest, UnknownCapacitiesAreFoundWithBothWitnesses) {
  for (const double load : {0.3, 0.5, 0.7, 0.9}) {
    QueueCluster cluster({{"a", 4000}, {"b", 2000}, {"c", 1000}, {"d", 1000}},
                         /*proxies_report=*/true);
    cluster.Run(load * 8000, 300);
    EXPECT_NEAR(cluster.Share("a"), 0.5, 0.04) << "load " << load;
    EXPECT_NEAR(cluster.Share("b"), 0.25, 0.03) << "load " << load;
    EXPECT_NEAR(cluster.Share("d"), 0.125, 0.02) << "load " << load;
  }
}

// Waits of short measurements vary. Neither a hold nor a fall may wear a healthy endpoint down.
TEST(WitnessesTest, NoisyWaitsDoNotMoveShares) {
  for (const unsigned seed : {1u, 2u, 3u, 4u, 5u}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    QueueCluster cluster(FourEqual(), /*proxies_report=*/true);
    cluster.AddNoise(0.3, seed);
    cluster.Run(2800, 600);
    double least = 1, most = 0;
    cluster.Run(2800, 1200, [&] {
      for (const char* id : {"a", "b", "c", "d"}) {
        least = std::min(least, cluster.Share(id));
        most = std::max(most, cluster.Share(id));
      }
    });
    EXPECT_GT(least, 0.21);
    EXPECT_LT(most, 0.29);
  }
}

// An endpoint in another zone: clients wait ten times as long there, whatever its load.
TEST(WitnessesTest, DistantServerKeepsItsShare) {
  std::vector<QueueServer> servers = FourEqual();
  servers[0].distance = 0.02;
  QueueCluster cluster(servers, /*proxies_report=*/true);
  cluster.AddNoise(0.2, 1);
  cluster.Run(2800, 1800);
  EXPECT_NEAR(cluster.Share("a"), 0.25, 0.03);
}

TEST(WitnessesTest, ServerThatBecomesSlowerLosesShareWithinSeconds) {
  QueueCluster cluster(FourEqual(), /*proxies_report=*/true);
  cluster.Run(2400, 120);
  cluster.server(0).capacity = 500;
  cluster.Run(2400, 20);
  EXPECT_NEAR(cluster.Share("a"), 500.0 / 3500, 0.04);
  EXPECT_LT(cluster.server(0).backlog, 50);
}

}  // namespace
}  // namespace trunkline
