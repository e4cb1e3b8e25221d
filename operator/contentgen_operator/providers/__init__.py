"""The paid providers behind one seam (`base.Provider`): submit once, poll, find again."""
