#include "device/translator.h"

#include <algorithm>

#include "device/run.h"
#include "device/tally.h"
#include "engine/choices.h"

namespace distilmt {
namespace {

constexpr int kRows = 4096;       // of a step, where there are so many sentences
constexpr size_t kTokens = 4096;  // of an encoder pass
constexpr int kMostBeams = cuda::kMostCandidates / 2;
constexpr double kOfFreeMemory = 0.9;  // what a search may take
constexpr int64_t kMappedBytes = int64_t{2} << 30;

void check_supported(const DeviceModels& models, const Request& request, const Plan& plan) {
  const SearchOptions& o = request.options;
  const auto refuse = [](bool asked, const char* what) {
    if (asked) throw NotOnDevice(what);
  };
  refuse(o.sample && o.n_best > kMostBeams, "more than 64 samples");
  refuse(o.sample && o.top_k > cuda::kMostCandidates, "top_k above 128");
  refuse(!o.sample && o.beam_size > kMostBeams, "beam_size above 64");
  refuse(!o.sample && o.n_best > o.beam_size, "n_best above beam_size");
  refuse(request.soft_labels > cuda::kMostCandidates, "soft_labels above 128");
  size_t aside = !request.scoring && reads_text(o) ? plan.target : 0;
  if (!request.scoring && request.neighbours) aside += DeviceSearch::kMostNeighbours;
  refuse(aside > cuda::kMostAsides,
         "repetition_penalty or no_repeat_ngram_size over more than 12288 positions, 128 fewer with neighbours");
  refuse(request.soft_labels > 0 && aside + (request.scoring ? 0 : o.banned.size()) > cuda::kMostBanned,
         "soft_labels with more than 1024 ids that are banned, penalised or neighbours'");
  for (const DeviceModel* model : models.members)
    for (int64_t heads : {model->config.encoder_heads, model->config.decoder_heads})
      refuse(model->config.hidden / heads > cuda::kHeadSize, "attention heads of more than 128 columns");
}

int beams_of(const Request& request) {
  if (request.scoring) return 1;
  return request.options.sample ? request.options.n_best : request.options.beam_size;
}

DeviceShape shape_of(const Request& request, const Plan& plan, int slots, int sentences) {
  DeviceShape shape;
  shape.beams = beams_of(request);
  shape.slots = std::min(slots, sentences);
  shape.places = std::min(sentences, shape.slots + shape.slots / 2 + 1);
  shape.positions = plan.target;
  shape.source_positions = plan.source;
  shape.attention = !request.scoring && !request.options.sample && request.options.coverage_penalty != 0;
  size_t tokens = 0;
  for (const auto& source : request.sources) tokens += source.size();
  shape.tokens = std::max(plan.source, static_cast<int>(std::min(tokens, kTokens)));
  shape.pages = shape.slots * shape.pages_per_slot();
  return shape;
}

bool fits(const DeviceModels& models, const DeviceShape& shape, const Job& job, int64_t free_bytes) {
  Tally tally;
  const RunMemory held(models, shape, job, tally);
  return tally.device <= static_cast<int64_t>(kOfFreeMemory * static_cast<double>(free_bytes)) &&
         tally.mapped <= kMappedBytes;
}

// The most slots that memory suffices for. Pages are saved first, down to a quarter of what sentences could come to
// need: hardly any come so far, and one without a page waits.
DeviceShape fitting(const DeviceModels& models, const Request& request, const Job& job, const Plan& plan, int slots,
                    int sentences) {
  DeviceShape shape = shape_of(request, plan, slots, sentences);
  const int64_t free_bytes = models.members[0]->device->free_bytes();
  while (!fits(models, shape, job, free_bytes)) {
    if (shape.pages / 2 >= std::max(1, shape.slots / 4) * shape.pages_per_slot())
      shape.pages /= 2;
    else if (shape.slots > 1)
      shape = shape_of(request, plan, shape.slots / 2, sentences);
    else
      break;  // allocation will say what is wanting
  }
  return shape;
}

}  // namespace

std::vector<Output> run(const DeviceModels& models, const Request& request, const std::function<void(size_t)>& tick) {
  const Device::Turn turn(*models.members[0]->device);
  std::vector<Output> outputs(request.sources.size());
  Job job;
  const Plan plan = prepare(models.positions(), request, outputs, job);
  check_supported(models, request, plan);
  std::vector<bool> unread(outputs.size(), false);
  for (size_t index : job.order) unread[index] = true;
  int slots = request.slots > 0 ? request.slots : std::max(1, kRows / beams_of(request));
  for (;;) {
    std::deque<size_t> waiting;
    for (size_t index : job.order)
      if (unread[index]) waiting.push_back(index);
    if (waiting.empty()) break;
    const DeviceShape shape = fitting(models, request, job, plan, slots, static_cast<int>(waiting.size()));
    try {
      DeviceRun(models, shape, job).all(waiting, unread, tick);
    } catch (const OutOfDeviceMemory&) {
      if (shape.slots == 1) throw;
      slots = shape.slots / 2;  // what has been read stays
    }
  }
  for (const auto& [copy, first] : plan.copies) outputs[copy] = outputs[first];
  tick(job.done);
  return outputs;
}

}  // namespace distilmt
