// SPDX-License-Identifier: MIT
// How the tiles of the upper triangle are shared out among the clusters of weighted_degree_sm90.cu.
//
// A tile, of two blocks, is `stages` steps along the features. As many tiles as fill whole waves
// are done by one cluster each. The stages of the rest are cut into parts of equal length, one for
// each cluster, wherever that falls: a tile in two or more pieces is summed by the block that
// finishes it last. 72 tiles on 66 clusters take 1.09 times the time of one tile so, and not twice.
// Tiles of few products stay whole: to put one together takes longer than to compute it. The cut
// depends on the device's number of processors alone, not on the grid: the same bits on every run.
// Source: Osama et al., "Stream-K", 2023 (arXiv 2301.03598).
#pragma once

#include <cstdint>

#include "core/host_device.h"
#include "cuda/sm90_layout.h"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {

// Products of plane pairs, 64 features each, of a part: shorter ones cost more than they spread.
constexpr int kLeastProducts = 8;
constexpr int kWholeTile = -1;

struct TensorSchedule {
  int64_t tiles;
  int64_t whole;  // the first tiles, which are not cut
  int stages;     // of a tile
  int parts;      // of the others
};

// A stage is `products` products of plane pairs.
HUBPRUNE_SHARED TensorSchedule tensor_schedule(int64_t tiles, int stages, int products,
                                               int clusters) {
  const int least = (kLeastProducts + products - 1) / products;
  const int64_t waves = tiles / clusters;
  if (tiles % clusters == 0 || stages < least) return {tiles, tiles, stages, 0};
  // The last full wave joins the rest: parts of less than a tile would all be cut twice.
  const int64_t whole = (waves > 1 ? waves - 1 : 0) * clusters;
  // No fewer than there are tiles, as none is shorter than a part may be.
  const int64_t most = ((tiles - whole) * stages + least - 1) / least;
  return {tiles, whole, stages, most < clusters ? static_cast<int>(most) : clusters};
}

// Clusters that have something to do.
HUBPRUNE_SHARED int64_t busy_clusters(const TensorSchedule& schedule, int64_t clusters) {
  const int64_t whole = schedule.whole < clusters ? schedule.whole : clusters;
  return whole > schedule.parts ? whole : schedule.parts;
}

// The first stage of a part, counted over all tiles that are cut.
HUBPRUNE_SHARED int64_t part_begin(const TensorSchedule& schedule, int part) {
  return (schedule.tiles - schedule.whole) * schedule.stages * part / schedule.parts;
}

// The part that holds a stage.
HUBPRUNE_SHARED int part_of(const TensorSchedule& schedule, int64_t stage) {
  const int64_t rest = (schedule.tiles - schedule.whole) * schedule.stages;
  int part = static_cast<int>(stage * schedule.parts / rest);
  while (part_begin(schedule, part + 1) <= stage) ++part;
  return part;
}

// Where a part leaves its sums of a cut tile, those of both blocks: a part has at most two of
// those, its first and last.
HUBPRUNE_SHARED int piece_slot(const TensorSchedule& schedule, int part, int64_t tile) {
  const int64_t first = schedule.whole + part_begin(schedule, part) / schedule.stages;
  return 2 * part + (tile == first ? 0 : 1);
}

// The stages [first, end) of a tile; `slot` for the sums where those are not all.
struct TensorPiece {
  int64_t tile;
  int first;
  int end;
  int slot;
};

// Where a cluster stands among its pieces; the threads that copy and those that multiply walk
// alike.
struct PieceWalk {
  int clusters;
  int part;
  int64_t tile;  // the next that is not cut
  int64_t at;    // the next stage of the part
  int64_t end;
};

HUBPRUNE_SHARED PieceWalk first_piece(int cluster, int clusters) {
  return {clusters, cluster - clusters, cluster, 0, 0};
}

// False after the last.
HUBPRUNE_SHARED bool next_piece(const TensorSchedule& schedule, PieceWalk& walk,
                                TensorPiece& piece) {
  if (walk.tile < schedule.whole) {
    piece = {walk.tile, 0, schedule.stages, kWholeTile};
    walk.tile += walk.clusters;
    return true;
  }
  if (walk.at == walk.end) {
    walk.part += walk.clusters;
    if (walk.part >= schedule.parts) return false;
    walk.at = part_begin(schedule, walk.part);
    walk.end = part_begin(schedule, walk.part + 1);
  }
  const int64_t cut = walk.at / schedule.stages;
  const int first = static_cast<int>(walk.at - cut * schedule.stages);
  const int64_t last = first + walk.end - walk.at;
  const int end = last < schedule.stages ? static_cast<int>(last) : schedule.stages;
  const int64_t tile = schedule.whole + cut;
  const bool all = first == 0 && end == schedule.stages;
  piece = {tile, first, end, all ? kWholeTile : piece_slot(schedule, walk.part, tile)};
  walk.at += end - first;
  return true;
}

// The upper triangle of squares in bands of kBand rows, each column by column: those that run at
// the same time are near a square of squares, so that they share their rows and their columns in
// the cache. 66 of one column read 67 panels, those of a band 17.
constexpr int64_t kBand = 8;

HUBPRUNE_SHARED int64_t tiles_before_band(int64_t band, int64_t side) {
  return band * (triangular_count(kBand) + kBand * side) - kBand * kBand * triangular_count(band);
}

HUBPRUNE_SHARED TileIndex banded_index(int64_t index, int64_t side) {
  int64_t band = 0;
  int64_t beyond = (side + kBand - 1) / kBand;
  while (beyond - band > 1) {
    const int64_t middle = (band + beyond) / 2;
    (tiles_before_band(middle, side) <= index ? band : beyond) = middle;
  }
  const int64_t first = band * kBand;
  const int64_t rows = side - first < kBand ? side - first : kBand;
  const int64_t local = index - tiles_before_band(band, side);
  if (local < triangular_count(rows)) {
    const TileIndex corner = triangular_index(local);
    return {first + corner.row, first + corner.column};
  }
  const int64_t along = local - triangular_count(rows);
  return {first + along % rows, first + rows + along / rows};
}

// First row and column of the block of that rank in a tile of so many columns; `side` counts
// squares. All are multiples of kTensorTile; what lies left of the diagonal is no part of the sum.
struct TileOrigin {
  int row;
  int column;
};

HUBPRUNE_SHARED TileOrigin tile_origin(int64_t tile, int64_t side, int columns, int rank) {
  const int across = kSquare / columns;
  const TileIndex square = banded_index(tile / across, side);
  return {static_cast<int>(square.row * kSquare + rank * kTensorTile),
          static_cast<int>(square.column * kSquare + tile % across * columns)};
}

}  // namespace hubprune::cuda
