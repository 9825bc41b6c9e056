"""Operations for erasures and for the preview of retention."""
